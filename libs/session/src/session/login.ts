import { hash, timingSafeEqual } from 'node:crypto';
import { type JsonObject, type SessionChanges } from '../stores/session-store.js';

/** The options of `session.login`. */
export interface LoginOptions {
  /**
   * Which data of the anonymous session stays: all (true), none (false), or these keys. Keys in the option
   * `login.neverKeep` never stay. Default: true.
   */
  keep?: boolean | readonly string[];
  /**
   * The user asks to be remembered: the timeouts of the option `remember` apply to this session. Default: false; if the
   * same user logs in again, as before.
   */
  remember?: boolean;
  /**
   * Any text that changes when this credential is no longer good, such as the password's hash. Only a hash of it is
   * stored. Every load compares it with the result of the option `currentStamp`. Default: the result of `currentStamp`.
   */
  stamp?: string;
}

/** Columns of the databases hold so many characters. */
const LONGEST_USER_ID = 255;
/** What some store would refuse, cut off, or take for another character: then two users could be one. */
const UNSTORABLE = /[\0\p{Surrogate}]/u;

/** A user's id as it is stored: the same rule on every engine. Null: no user can have this id. */
export function userIdOf(given: unknown): string | null {
  const id = typeof given === 'number' && Number.isFinite(given) ? String(given) : given;
  if (typeof id !== 'string' || id === '' || id.length > LONGEST_USER_ID || UNSTORABLE.test(id)) return null;
  return id;
}

export interface LoginPolicy {
  /** Keys of data that a login never takes over from the anonymous session. */
  neverKeep: readonly string[];
  /** Keys of data that go whenever the session gets a new key. */
  secrets: readonly string[];
}

/** Does this key stay in the session when somebody logs in? */
export type Keeps = (key: string) => boolean;

export function keepsAtLogin(keep: boolean | readonly string[], dropped: readonly string[]): Keeps {
  const wanted: Keeps = typeof keep === 'boolean' ? () => keep : (key) => keep.includes(key);
  return (key) => wanted(key) && !dropped.includes(key);
}

/** Removes in place what does not stay. */
export function dropAtLogin(data: JsonObject, keeps: Keeps): JsonObject {
  for (const key of Object.keys(data)) if (!keeps(key)) delete data[key];
  return data;
}

/**
 * Returns the current stamp of a user's credential: any text that changes when sessions with the old credential have to
 * end, such as the password's hash. Null: the user may have no session (deleted, locked).
 */
export type CurrentStamp = (userId: string) => string | null | Promise<string | null>;

/** What is stored of a stamp: it may be a password's hash, which must not be copied around. */
export function hashStamp(stamp: string): string {
  return hash('sha256', `nest-sessions:stamp:${stamp}`, 'base64url');
}

/** Is this the stamp that was hashed? A session without one was opened with no credential that is known. */
export function isStampOf(hashed: string | undefined, stamp: string | null): boolean {
  if (hashed === undefined || stamp === null) return false;
  const [expected, actual] = [Buffer.from(hashed), Buffer.from(hashStamp(stamp))];
  return expected.length === actual.length && timingSafeEqual(expected, actual);
}

/** Keys under which applications keep who is logged in, when they do it by hand. */
const LOOKS_LIKE_A_USER = /^(user|account|member)(_?id)?$|^uid$/i;

const advised = new Set<string>();

/**
 * What to tell a developer whose application logs users in by writing a key: the old session key would still open the
 * session. Once per key and process; null when there is nothing to tell.
 */
export function loginAdvice({ set = {} }: SessionChanges, userId: string | null): string | null {
  if (userId !== null) return null;
  const key = Object.keys(set).find((name) => LOOKS_LIKE_A_USER.test(name) && !advised.has(name));
  if (key === undefined) return null;
  advised.add(key);
  return (
    `The session key ${JSON.stringify(key)} was written without session.login(). If it says who is logged in, call ` +
    'session.login(userId): it starts a new session, so nobody who had the old key is logged in as well.'
  );
}
