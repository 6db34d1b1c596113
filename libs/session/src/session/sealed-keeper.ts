import { SessionCookieTooLargeError } from '../session.errors.js';
import { applyChanges } from '../stores/session-log.js';
import { type SessionChanges, type SessionRecord } from '../stores/session-store.js';
import { type SealedRecord, type SealingStore } from '../stores/sealing-store.js';
import { type RecordKeeper, type Renamed } from './record-keeper.js';
import { within } from './store-access.js';

/** What browsers accept of one cookie, in bytes: name, value and attributes together. */
const LARGEST_COOKIE = 4096;

export interface SealedKeeperOptions {
  /** What the tokens are for: the name of the cookie. */
  purpose: string;
  /** Bytes of the Set-Cookie header without the token. */
  overhead: number;
  /** Time limit of asking for revocations, in milliseconds. */
  timeLimit: number;
  now: () => number;
}

/**
 * Keeps every record in its token. What a write did to the old token's data gives a new token; the old one goes on to
 * open, wherever it is kept, until it expires.
 */
export function sealedKeeper(
  store: SealingStore,
  { purpose, overhead, timeLimit, now }: SealedKeeperOptions,
): RecordKeeper {
  const open = (token: string): SealedRecord | null => {
    const record = store.open(token, purpose);
    return record && now() < record.expiresAt ? record : null;
  };
  const seal = (record: SealedRecord): string => {
    const token = store.seal(record, purpose);
    const size = overhead + token.length;
    if (size > LARGEST_COOKIE) throw new SessionCookieTooLargeError(LARGEST_COOKIE, size);
    return token;
  };
  const save = async (
    token: string,
    changes: SessionChanges,
    record: SessionRecord,
  ): Promise<string | null> => {
    const current = open(token);
    if (!current) return null;
    return seal({
      ...record,
      data: applyChanges(current.data, changes),
      version: current.version + 1,
      userSince: changes.userId === undefined ? current.userSince : record.userId === null ? null : now(),
    });
  };
  /** Old tokens go on to open, so that there is nothing to be known of a rotation. */
  const rename = async (
    token: string,
    changes: SessionChanges,
    record: SessionRecord,
  ): Promise<Renamed | null> => {
    const moved = await save(token, changes, record);
    return moved === null ? null : { token: moved, meta: record.meta };
  };
  return {
    isToken: (text) => store.isToken(text),
    everyWriteMoves: true,
    async load(token) {
      const record = open(token);
      if (!record || (await within(timeLimit, 'load', store.isRevoked(record)))) return null;
      return { standing: 'live', token, record };
    },
    create: async (record) => seal({ ...record, userSince: record.userId === null ? null : now() }),
    save,
    rename,
    renew: rename,
    async touch(token, { version, lastSeenAt, expiresAt }) {
      const current = open(token);
      if (!current || current.version !== version || current.expiresAt >= expiresAt) return null;
      return seal({ ...current, lastSeenAt, expiresAt });
    },
    async end(token) {
      const record = store.open(token, purpose);
      if (record) await within(timeLimit, 'delete', store.revoke(record));
      return record !== null;
    },
  };
}
