import { type SessionDevice, type SessionRecord } from '../stores/session-store.js';

/** One of a user's sessions, for the page on which the user ends those that should not be. It opens nothing. */
export interface UserSession {
  /** The session id: `session.id` of the session itself, and what `Sessions.revoke` takes. */
  id: string;
  userId: string;
  createdAt: Date;
  /** The last save or touch: when it was last used, give or take a tenth of the idle timeout. */
  lastSeenAt: Date;
  /** When it ends unless it is used again. */
  expiresAt: Date;
  /** The login: a session of a user starts with it. */
  authenticatedAt: Date;
  /** Did the user ask to be remembered? */
  remembered: boolean;
  /** From where the user logged in, if the option `device` was on. */
  device?: SessionDevice;
}

export function toUserSession(userId: string, record: SessionRecord): UserSession {
  const { id, createdAt, lastSeenAt, expiresAt, meta } = record;
  return {
    id,
    userId,
    createdAt: new Date(createdAt),
    lastSeenAt: new Date(lastSeenAt),
    expiresAt: new Date(expiresAt),
    authenticatedAt: new Date(createdAt),
    remembered: meta.remembered ?? false,
    ...(meta.device && { device: { ...meta.device } }),
  };
}
