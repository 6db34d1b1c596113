/** The attributes every session cookie of an application has; set by the options, the same for all sessions. */
export interface CookieAttributes {
  path: string;
  domain?: string;
  httpOnly: boolean;
  /** `'auto'`: in production, and over TLS. */
  secure: boolean | 'auto';
  /** False leaves the attribute out. */
  sameSite: 'lax' | 'strict' | 'none' | false;
  partitioned: boolean;
  priority?: 'low' | 'medium' | 'high';
}
