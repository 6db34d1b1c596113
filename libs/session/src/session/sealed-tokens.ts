import { SessionCookieTooLargeError } from '../session.errors.js';
import { type SessionSealer } from '../stores/session-sealer.js';
import { type SessionChanges, type SessionRecord } from '../stores/session-store.js';
import { type ExpiryPolicy } from './expiry.js';
import { type TimeLimit } from './store-guard.js';
import { createSessionId } from './session-key.js';
import { type Found, type Held, type TokenStore } from './token-store.js';

/** What browsers accept of one cookie, in bytes: name, value and attributes together. */
export const LARGEST_COOKIE = 4096;

export interface SealedTokensOptions {
  /** What the tokens are for: the name of the cookie, and of the application. */
  purpose: string;
  /** Bytes of the Set-Cookie header without the token. */
  overhead: number;
  /** For the questions about revocations. */
  timeLimit: TimeLimit;
  /** The policy for this session: it says how long an end has to be remembered. */
  policyOf: (record: SessionRecord) => Pick<ExpiryPolicy, 'absoluteTimeout'>;
}

/**
 * Keeps every record in its token. What a write did to the old token's data gives a new token; the old one still opens,
 * wherever it is kept, until it expires.
 */
export class SealedTokens implements TokenStore {
  // Private, as sessions lead here, and nobody may reach the keys from a request.
  readonly #sealer: SessionSealer;
  readonly #options: SealedTokensOptions;
  readonly everyWriteRenames = true;

  constructor(sealer: SessionSealer, options: SealedTokensOptions) {
    this.#sealer = sealer;
    this.#options = options;
  }

  readonly isToken = (text: string): boolean => this.#sealer.isToken(text);

  load(token: string): Found | null | Promise<Found | null> {
    const record = this.open(token);
    if (!record) return null;
    const found: Found = { standing: 'live', token, record };
    const revoked = this.#sealer.isRevoked(record);
    // Most sealers have no place where ends are noted, and nothing to wait for.
    if (typeof revoked === 'boolean') return revoked ? null : found;
    return this.#options.timeLimit.run('load', revoked, (isRevoked) => (isRevoked ? null : found));
  }

  async create(record: SessionRecord): Promise<Held> {
    return this.seal(record);
  }

  /** No token can be known before what it holds. */
  createAs(): Promise<null> {
    return Promise.resolve(null);
  }

  /** Nobody else can have changed what is in the token, so the record is as this request sees it. */
  save({ record }: Held, _changes: SessionChanges, next: SessionRecord): Held | null {
    if (this.#sealer.now() >= record.expiresAt) return null;
    return this.seal({ ...next, version: record.version + 1 });
  }

  /** Old tokens still open, so there is nothing to be known of a rotation. */
  async rotate(held: Held, changes: SessionChanges, record: SessionRecord): Promise<Held | null> {
    return this.save(held, changes, record);
  }

  async touch({ token }: Held, { version, lastSeenAt, expiresAt }: SessionRecord): Promise<Held | null> {
    const current = this.open(token);
    if (!current || current.version !== version || current.expiresAt >= expiresAt) return null;
    return this.seal({ ...current, lastSeenAt, expiresAt });
  }

  async take(held: Held): Promise<SessionRecord | null> {
    const record = this.open(held.token);
    if (record) await this.end(held);
    return record;
  }

  async end({ token }: Held): Promise<boolean> {
    const record = this.#sealer.open(token, this.#options.purpose);
    if (!record) return false;
    const { policyOf, timeLimit } = this.#options;
    const { absoluteTimeout } = policyOf(record);
    // Without an absolute timeout, a token that somebody else has may have got any expiry.
    const last = absoluteTimeout === null ? Infinity : record.createdAt + absoluteTimeout;
    await timeLimit.run('delete', this.#sealer.revoke(record, Math.max(last, record.expiresAt)));
    return true;
  }

  watch(token: string): () => Promise<SessionRecord | null> {
    return async () => {
      const found = this.isToken(token) ? await this.load(token) : null;
      return found?.standing === 'live' ? found.record : null;
    };
  }

  /** A token of another application does not open. */
  isOwn(): boolean {
    return true;
  }

  /** There are no records to ask for, but there may be a place where ended sessions are noted. */
  async ping(): Promise<void> {
    await this.#options.timeLimit.run('load', Promise.resolve(this.#sealer.isRevoked(nobody())));
  }

  private open(token: string): SessionRecord | null {
    const record = this.#sealer.open(token, this.#options.purpose);
    return record && this.#sealer.now() < record.expiresAt ? record : null;
  }

  private seal(record: SessionRecord): Held {
    const token = this.#sealer.seal(record, this.#options.purpose);
    const size = this.#options.overhead + token.length;
    if (size > LARGEST_COOKIE) throw new SessionCookieTooLargeError(LARGEST_COOKIE, size);
    return { token, record };
  }
}

function nobody(): SessionRecord {
  return {
    id: createSessionId(),
    keyHash: '',
    userId: null,
    data: {},
    expiry: null,
    createdAt: 0,
    lastSeenAt: 0,
    expiresAt: 0,
    version: 1,
    meta: {},
  };
}
