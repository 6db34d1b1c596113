import { SessionLimitError, SessionRecordCorruptError, SessionValueError } from '../session.errors.js';
import { type AcceptedContent, type AcceptedSessions } from '../stores/accepted-sessions.js';
import { checkRecordSize } from '../stores/record-log.js';
import {
  type JsonObject,
  type SessionChanges,
  type SessionDevice,
  type SessionRecord,
} from '../stores/session-store.js';
import { deadlineOf } from './expiry.js';
import { REFUSED_KEYS } from './json-value.js';
import { hashStamp, userIdOf } from './login.js';
import { type SessionEnvironment } from './session-environment.js';
import { formatSessionKey, parseSessionKey } from './session-key.js';
import { type TimeLimit } from './store-guard.js';
import { type Held } from './token-store.js';

/** Longer than a request may take that moves a session in. Milliseconds. */
const MOVING_LASTS = 60_000;

/** Milliseconds. An old store that cannot end a session now is not asked again by every visitor who could do without. */
const LEAVING_RESTS_FOR = 5000;

/** Of several cookies of the name, so many are tried. Each costs a look into the store. */
export const MOST_CANDIDATES = 3;

/** The option `accept`: sessions of another library, which are moved in when their visitors come. */
export class OldSessions {
  // Private, as requests lead here, and the secret is behind it.
  readonly #accepted: AcceptedSessions;
  readonly #timeLimit: TimeLimit;
  readonly #leaving = { restsUntil: 0 };

  constructor(accepted: AcceptedSessions, timeLimit: TimeLimit) {
    this.#accepted = accepted;
    this.#timeLimit = timeLimit;
  }

  get cookie(): AcceptedSessions['cookie'] {
    return this.#accepted.cookie;
  }

  /** What the first cookie stands for that is well signed, if one is. */
  find(cookies: readonly string[]): OldSession | undefined {
    for (const cookie of cookies.slice(0, MOST_CANDIDATES)) {
      const sid = this.#accepted.open(cookie);
      if (sid !== null) return new OldSession(this.#accepted, sid, this.#timeLimit, this.#leaving);
    }
    return undefined;
  }
}

/** A session of another library that a request came with. */
export class OldSession {
  /**
   * The key of the session that it is moved into. Not drawn but derived, in every process alike: so that of several requests
   * with the old cookie only the first makes a session, and the others find it, also when an answer with the new cookie
   * was lost.
   */
  readonly token: string;
  /** Nobody needs the old session any more, so its cookie is to be removed. */
  spent = false;
  /** Was the old store asked for it? */
  asked = false;

  readonly #accepted: AcceptedSessions;
  readonly #sid: string;
  readonly #timeLimit: TimeLimit;
  /** When visitors may leave old sessions again after that has failed, in epoch milliseconds. All of them share it. */
  readonly #leaving: { restsUntil: number };

  constructor(
    accepted: AcceptedSessions,
    sid: string,
    timeLimit: TimeLimit,
    leaving: { restsUntil: number },
  ) {
    this.#accepted = accepted;
    this.#sid = sid;
    this.#timeLimit = timeLimit;
    this.#leaving = leaving;
    this.token = formatSessionKey({
      id: accepted.derive(sid, 'id').subarray(0, 16).toString('base64url'),
      secret: accepted.derive(sid, 'secret').toString('base64url'),
    });
  }

  /** Null: there is none any more. */
  read(): Promise<AcceptedContent | null> {
    this.asked = true;
    return this.#timeLimit.run('accept', this.#accepted.read(this.#sid));
  }

  async end(): Promise<void> {
    await this.#timeLimit.run('accept', this.#accepted.destroy(this.#sid));
    this.spent = true;
  }

  /** The visitor has this session of ours. While another request may still be moving the old one, it needs it. */
  async leave(record: SessionRecord, now: () => number): Promise<void> {
    const { id } = parseSessionKey(this.token);
    if (record.id === id && now() - record.createdAt < MOVING_LASTS) return;
    if (now() < this.#leaving.restsUntil) return;
    // If its store is away, the cookie stays, and a later request tries again.
    await this.end().catch(() => {
      this.#leaving.restsUntil = now() + LEAVING_RESTS_FOR;
    });
  }
}

/**
 * Makes a session of ours from an old one: as at a login the new record is created first, then the old one is taken.
 *
 * Requests race here, in any process. A record is only ever inserted, under the one id that the old session leads to. Only
 * the one who has inserted it ends the old session. So if that is gone by then, it has ended in the meantime: another
 * request had moved it before, and that session is over. What was just inserted would revive it, and goes again.
 *
 * @returns null: nothing was moved, perhaps because another request was faster
 */
export async function moveIn(
  old: OldSession,
  environment: SessionEnvironment,
  device: SessionDevice | undefined,
): Promise<Held | null> {
  const { tokens, emit, afterLogin } = environment;
  const content = await readOrNull(old, environment);
  if (!content) return null;
  const record = await recordOf(content, environment, device);
  if (!record) {
    await old.end();
    return null;
  }
  const created = await tokens.createAs(old.token, record);
  if (!created) return null;
  const current = await readOrNull(old, environment);
  if (!current || current.userId !== record.userId) {
    await tokens.end(created);
    return current && moveIn(old, environment, device);
  }
  // The old application may have served a last request meanwhile.
  const changes = differenceOf(content.data, current.data);
  const moved = changes && (await tokens.save(created, changes, { ...created.record, data: current.data }));
  await old.end();
  const { id: sessionId, userId } = created.record;
  emit({ type: 'created', sessionId, userId });
  await afterLogin?.(created.record);
  if (userId !== null) emit({ type: 'login', sessionId, userId });
  return moved ?? created;
}

/** What can become a session of ours. */
interface Movable extends AcceptedContent {
  userId: string | null;
}

/** What cannot be read, or not become a session of ours, is absent for the visitor, and told as an event. */
async function readOrNull(old: OldSession, { emit, limits }: SessionEnvironment): Promise<Movable | null> {
  try {
    const content = await old.read();
    if (!content) return null;
    for (const key of REFUSED_KEYS) delete content.data[key];
    checkRecordSize(content.data, limits);
    return { ...content, userId: ownerOf(content) };
  } catch (error) {
    const isUnfit =
      error instanceof SessionRecordCorruptError ||
      error instanceof SessionLimitError ||
      error instanceof SessionValueError;
    if (!isUnfit) throw error;
    emit({ type: 'corrupt', error });
    return null;
  }
}

/** Null: there is nothing in it, or its user may have no session, or has another credential by now. */
async function recordOf(
  { data, userId, stamp: boundTo }: Movable,
  { now, policy, currentStamp }: SessionEnvironment,
  device: SessionDevice | undefined,
): Promise<SessionRecord | null> {
  if (userId === null && Object.keys(data).length === 0) return null;
  const stamp = currentStamp && userId !== null ? await currentStamp(userId) : undefined;
  if (stamp === null) return null;
  if (stamp !== undefined && boundTo !== undefined && boundTo !== stamp) return null;
  const at = now();
  return {
    id: '',
    keyHash: '',
    userId,
    data,
    expiry: null,
    createdAt: at,
    lastSeenAt: at,
    expiresAt: deadlineOf(null, at, at, policy),
    version: 1,
    meta: {
      moved: true,
      ...(stamp !== undefined && { stamp: hashStamp(stamp) }),
      ...(device && { device }),
    },
  };
}

function ownerOf({ userId }: AcceptedContent): string | null {
  if (userId === null || userId === undefined) return null;
  const id = userIdOf(userId);
  if (id !== null) return id;
  throw new SessionValueError(
    'accept.userId',
    'returned a value that cannot be a user id. Return a string, a number, or null for nobody.',
  );
}

function differenceOf(before: JsonObject, after: JsonObject): SessionChanges | null {
  const isChanged = (key: string): boolean => JSON.stringify(before[key]) !== JSON.stringify(after[key]);
  const set = Object.fromEntries(Object.entries(after).filter(([key]) => isChanged(key)));
  const unset = Object.keys(before).filter((key) => !(key in after));
  if (Object.keys(set).length + unset.length === 0) return null;
  return { ...(Object.keys(set).length > 0 && { set }), ...(unset.length > 0 && { unset }) };
}
