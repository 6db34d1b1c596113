import { type SessionRecord } from '../stores/session-store.js';
import { type CookieAttributes } from './cookie-attributes.js';
import { type CurrentStamp } from './credential-stamp.js';
import { type ExpiryPolicy } from './expiry.js';
import { type Limits } from './json-value.js';
import { type RecordKeeper } from './record-keeper.js';
import { type SessionEventListener } from './session-events.js';

/** What all sessions of an application share. */
export interface SessionEnvironment {
  keeper: RecordKeeper;
  policy: ExpiryPolicy;
  /** For users who wished to be remembered. */
  rememberedPolicy: ExpiryPolicy;
  limits: Limits;
  cookie: CookieAttributes;
  saveEveryRequest: boolean;
  /** Age of a session key, in milliseconds, at which it is replaced. Null: never. */
  renewAfter: number | null;
  /** What becomes of a session whose former key comes back after the overlap. */
  onReuse: 'report' | 'revoke';
  login: LoginPolicy;
  currentStamp?: CurrentStamp | undefined;
  /** Is told of every login when it has been saved. */
  afterLogin?: ((record: SessionRecord) => Promise<void>) | undefined;
  /** When touches may be tried again after one has failed, in epoch milliseconds. */
  touchesRestUntil: number;
  now: () => number;
  emit: SessionEventListener;
  /** Tells the developer of what looks like a mistake; absent in production. */
  advise?: ((advice: string) => void) | undefined;
}

export interface LoginPolicy {
  /** Keys of data that a login never takes over from the anonymous session. */
  neverKeep: readonly string[];
  /** Keys of data that go whenever the session gets a new key. */
  secrets: readonly string[];
}
