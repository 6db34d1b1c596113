import { type SessionRecord } from '../stores/session-store.js';
import { type ExpiryPolicy } from './expiry.js';
import { type Limits } from './json-value.js';
import { type CurrentStamp, type LoginPolicy } from './login.js';
import { type ReplacedTokens } from './replaced-tokens.js';
import { type SessionEventListener } from './session-events.js';
import { type TokenStore } from './token-store.js';

/** The options that sessions go by, resolved. */
export interface SessionRules {
  policy: ExpiryPolicy;
  /** For users who asked to be remembered. */
  rememberedPolicy: ExpiryPolicy;
  limits: Limits;
  cookie: CookieAttributes;
  saveEveryRequest: boolean;
  /** Age of a secret, in milliseconds, at which it is replaced. Null: never. */
  renewAfter: number | null;
  /** What becomes of a session whose former key comes back after the overlap. */
  onReuse: 'report' | 'revoke';
  login: LoginPolicy;
  currentStamp?: CurrentStamp | undefined;
}

/** What all sessions of an application share. */
export interface SessionEnvironment extends SessionRules {
  tokens: TokenStore;
  replacedTokens: ReplacedTokens;
  /**
   * Is told of every login when it has been saved, and of the session that it is about to end; and of every session that has
   * been moved in.
   */
  afterLogin?: ((record: SessionRecord, replacedId?: string) => Promise<void>) | undefined;
  /** When touches may be tried again after one has failed, in epoch milliseconds. */
  touchesRestUntil: number;
  now: () => number;
  emit: SessionEventListener;
  /** Tells the developer of what looks like a mistake; absent in production. */
  advise?: ((advice: string) => void) | undefined;
}

/** The attributes of the session cookie, as the options set them. */
export interface CookieAttributes {
  path: string;
  domain?: string;
  httpOnly: boolean;
  /** `'auto'`: in production, and over TLS. */
  secure: boolean | 'auto';
  /** False leaves the attribute out. `'auto'`: none for a cookie that is Secure, else lax. */
  sameSite: 'lax' | 'strict' | 'none' | 'auto' | false;
  partitioned: boolean;
  priority?: 'low' | 'medium' | 'high';
}

/** The attributes of one cookie that is sent: what was open has been decided. */
export interface SentAttributes extends Omit<CookieAttributes, 'domain' | 'secure' | 'sameSite'> {
  domain?: string | undefined;
  secure: boolean;
  sameSite: Exclude<CookieAttributes['sameSite'], 'auto'>;
}

export function sameSiteOf(
  sameSite: CookieAttributes['sameSite'],
  secure: boolean,
): SentAttributes['sameSite'] {
  if (sameSite !== 'auto') return sameSite;
  return secure ? 'none' : 'lax';
}
