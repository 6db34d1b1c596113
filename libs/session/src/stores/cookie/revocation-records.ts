import { hash } from 'node:crypto';
import { SessionStoreUnavailableError } from '../../session.errors.js';
import { applyChanges } from '../record-log.js';
import { type SessionRecord, type SessionStore } from '../session-store.js';
import { type RevocationStore } from './revocation-store.js';

const ATTEMPTS = 10;
const BATCH_SIZE = 1000;

/**
 * Revocations as records of a store of sessions, which has all it takes: it expires them, clears them, and adds moments
 * to one record without losing any. No session key opens these records.
 *
 * @example
 * ```ts
 * const sealer = new CookieSealer({ secrets, revocations: new RevocationRecords(store) });
 * ```
 */
export class RevocationRecords implements RevocationStore {
  constructor(private readonly store: SessionStore) {}

  async revokedBefore(subject: string): Promise<number | null> {
    const record = await this.store.load(idOf(subject));
    return record && latestOf(record);
  }

  async revokeBefore(subject: string, moment: number, keepUntil: number): Promise<void> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      if (await this.note(subject, moment, keepUntil)) return;
    }
    throw new SessionStoreUnavailableError(
      'revoke',
      'other processes kept writing the same note. Try again.',
    );
  }

  clearExpired(batchSize: number): Promise<number> {
    return this.store.clearExpired(batchSize);
  }

  close(): Promise<void> {
    return this.store.close();
  }

  /** False: somebody else was faster, or an expired record was in the way. */
  private async note(subject: string, moment: number, keepUntil: number): Promise<boolean> {
    const id = idOf(subject);
    if (await this.store.create(id, recordOf(subject, moment, keepUntil))) return true;
    const current = await this.store.load(id);
    if (!current) {
      await this.store.clearExpired(BATCH_SIZE);
      return false;
    }
    if (latestOf(current) >= moment) return true;
    const changes = { push: { moments: [moment] } };
    return this.store.save(current.id, current.keyHash, changes, {
      ...current,
      data: applyChanges(current.data, changes),
      lastSeenAt: Date.now(),
      expiresAt: Math.max(current.expiresAt, keepUntil),
    });
  }
}

function recordOf(subject: string, moment: number, keepUntil: number): SessionRecord {
  const now = Date.now();
  return {
    id: idOf(subject),
    // No secret has this hash.
    keyHash: 'revocation',
    userId: null,
    data: { moments: [moment] },
    expiry: null,
    createdAt: now,
    lastSeenAt: now,
    expiresAt: keepUntil,
    meta: {},
    version: 1,
  };
}

function latestOf({ data }: SessionRecord): number {
  const { moments } = data;
  // Not null: a note that cannot be read must not let anybody in.
  return Array.isArray(moments) && moments.length > 0 ? Math.max(...moments.map(Number)) : Infinity;
}

function idOf(subject: string): string {
  return hash('sha256', `nest-sessions:revocation:${subject}`, 'base64url').slice(0, 22);
}
