import { hasRecordFields } from '../record-check.js';
import { type RecordCodec } from '../record-codec.js';
import { type SessionRecord } from '../session-store.js';
import { corruptRecord } from './store-errors.js';

/** Stands where a session was that a rotation has moved. */
export interface Forward {
  /** The store key that it lives under now. */
  movedTo: string;
  expiresAt: number;
}

/** A small text that is no session's, under a name of its own. */
export interface Mark {
  mark: string;
  expiresAt: number;
}

export type Content = SessionRecord | Forward | Mark;

/**
 * A session as express-session stores know it. Ours is under one name, and its data and meta are text: no key in them
 * can clash with `cookie` or with what stores add, and no store changes what it has no room for.
 */
export interface Payload {
  cookie: StoredCookie;
  nestSession: Forward | Mark | Kept;
}

/** Not every store keeps a null. */
type Kept = Omit<SessionRecord, 'data' | 'meta'> & { data: string; meta?: string | null };

/** Later dates do not fit the columns of some stores. */
const LAST_MOMENT = Date.UTC(9999, 11, 31);

/**
 * What stores read of express-session's cookie: until when to keep the session. Some take the moment, some the length
 * of time, some either of them from the JSON.
 */
export class StoredCookie {
  readonly path = '/';
  readonly httpOnly = true;

  /** @param maxAge milliseconds */
  constructor(
    readonly expires: Date,
    readonly maxAge: number,
    readonly _expires = expires,
    readonly originalMaxAge = maxAge,
  ) {}

  toJSON(): object {
    const { originalMaxAge, expires, httpOnly, path } = this;
    return { originalMaxAge, expires, httpOnly, path };
  }
}

/** A new object with every call, for stores write into what they are given. */
export function toPayload(content: Content, codec: RecordCodec): Payload {
  const expiresAt = Math.min(content.expiresAt, LAST_MOMENT);
  return {
    cookie: new StoredCookie(new Date(expiresAt), Math.max(1, Math.ceil(expiresAt - Date.now()))),
    nestSession: 'movedTo' in content || 'mark' in content ? content : toKept(content, codec),
  };
}

function toKept({ data, meta, ...rest }: SessionRecord, codec: RecordCodec): Kept {
  return { ...rest, data: codec.encodeSnapshot(data, rest.id), meta: codec.encodeMeta(meta, rest.id) };
}

/**
 * @param session what the store gave back; the cookie in it says nothing, for many a store extends the life of a session
 * without writing that down
 * @returns null when it is none
 * @throws SessionRecordCorruptError when it is not what `toPayload` made
 */
export function fromPayload(session: unknown, codec: RecordCodec): Content | null {
  if (!session) return null;
  if (typeof session !== 'object') throw corruptRecord();
  const { cookie, nestSession } = session as Partial<Payload>;
  if (!cookie) return null;
  if (isForward(nestSession)) return { movedTo: nestSession.movedTo, expiresAt: nestSession.expiresAt };
  if (isMark(nestSession)) return { mark: nestSession.mark, expiresAt: nestSession.expiresAt };
  if (!isKept(nestSession)) throw corruptRecord();
  const { id, userId, data, expiry, createdAt, lastSeenAt, expiresAt, version, meta } = nestSession;
  return {
    id,
    userId: userId ?? null,
    data: codec.decodeData(data, '', id),
    expiry: expiry ?? null,
    createdAt,
    lastSeenAt,
    expiresAt,
    version,
    meta: codec.decodeMeta(meta ?? null, id),
  };
}

function isForward(kept: Payload['nestSession'] | undefined): kept is Forward {
  return (
    typeof (kept as Partial<Forward> | undefined)?.movedTo === 'string' && Number.isFinite(kept?.expiresAt)
  );
}

function isMark(kept: Payload['nestSession'] | undefined): kept is Mark {
  return typeof (kept as Partial<Mark> | undefined)?.mark === 'string' && Number.isFinite(kept?.expiresAt);
}

function isKept(kept: Payload['nestSession'] | undefined): kept is Kept {
  const {
    data,
    meta,
    userId = null,
    expiry = null,
    ...others
  } = (kept ?? {}) as Partial<Record<string, unknown>>;
  return (
    typeof data === 'string' &&
    (typeof meta === 'string' || meta === undefined || meta === null) &&
    hasRecordFields({ ...others, userId, expiry })
  );
}
