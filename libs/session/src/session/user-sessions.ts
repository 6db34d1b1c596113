import { SessionsPerUserError } from '../session.errors.js';
import { KeyLock } from '../stores/key-lock.js';
import { type SessionRecord, SessionStore } from '../stores/session-store.js';
import { isExpired, policyOf } from './expiry.js';
import { isStampOf } from './login.js';
import { type SessionEnvironment } from './session-environment.js';
import { type StoreGuard } from './store-guard.js';

/** Has the store its own way to list a user's sessions? The contract's only refuses. */
export function listsUsers(store: SessionStore): boolean {
  return store.listByUser !== SessionStore.prototype.listByUser;
}

/**
 * Which of this user's records a request would be let in with: stores know neither applications nor today's options nor
 * credentials.
 */
export async function acceptanceOf(
  userId: string | null,
  environment: SessionEnvironment,
): Promise<(record: SessionRecord) => boolean> {
  const { currentStamp, now, tokens } = environment;
  const stamp = currentStamp && userId !== null ? await currentStamp(userId) : undefined;
  return (record) =>
    tokens.isOwn(record) &&
    !isExpired(record, now(), policyOf(record, environment)) &&
    (stamp === undefined || isStampOf(record.meta.stamp, stamp));
}

/** @throws SessionUnsupportedError when the store cannot list */
export async function liveSessionsOf(
  userId: string,
  store: Pick<StoreGuard, 'listByUser'>,
  environment: SessionEnvironment,
): Promise<SessionRecord[]> {
  const records = await store.listByUser(userId);
  return records.filter(await acceptanceOf(userId, environment));
}

/** The option `sessionsPerUser`: how many sessions a user may have at once. */
export interface SessionLimit {
  /** At least 1. */
  max: number;
  /**
   * Which session ends when a login makes one too many: `'evict-oldest'`, the one with the oldest login; `'evict-idle'`,
   * the one that has been idle the longest; or `'reject'`, the new one, and the client gets a 409.
   */
  policy: 'evict-oldest' | 'evict-idle' | 'reject';
}

/**
 * What a login has to do when it has been saved, and a session of another library when it has been moved in. Logins may run at the same time, in any process: each ends whatever is
 * beyond the limit in the one order that all of them see. So the last to look has seen all and leaves no surplus, and
 * what comes first in that order is ended by nobody. Those of one process take turns, only to spare the store: together
 * they would all try to end the same sessions.
 *
 * @throws SessionsPerUserError for a login that the policy refuses
 */
export function limitSessions(
  store: Pick<StoreGuard, 'listByUser' | 'delete'>,
  environment: SessionEnvironment,
  { max, policy }: SessionLimit,
): (newcomer: SessionRecord, replacedId?: string) => Promise<void> {
  const turns = new KeyLock();

  async function enforce(id: string, userId: string, replacedId?: string): Promise<void> {
    const { emit } = environment;
    const live = await liveSessionsOf(userId, store, environment);
    // The session that this login takes the place of is about to end: it takes no room.
    const ranked = rankings[policy](live.filter((record) => record.id !== replacedId));
    const index = ranked.findIndex((record) => record.id === id);
    // Another login may have ended this one before it was its turn to count.
    const place = index === -1 ? Infinity : index;
    // Sessions from before must not be ended by a refused login; those that came after it are refused as it is.
    const surplus = ranked.slice(policy === 'reject' ? Math.max(max, place) : max);
    if (surplus.length > 0) emit({ type: 'limit', userId });
    for (const { id: sessionId } of surplus) {
      const ended = await store.delete(sessionId);
      if (ended) emit({ type: 'ended', reason: 'limit', sessionId, userId });
    }
    if (policy === 'reject' && Math.min(place, ranked.length) >= max) throw new SessionsPerUserError(max);
  }

  return async ({ id, userId, meta }, replacedId) => {
    // Of a session that is moved in, the login was before, and was let in.
    if (policy === 'reject' && meta.moved) return;
    if (userId !== null) await turns.run(userId, () => enforce(id, userId, replacedId));
  };
}

/** The live sessions of a user in the order in which they stay. */
const rankings: Record<SessionLimit['policy'], (live: SessionRecord[]) => SessionRecord[]> = {
  'evict-oldest': (live) => live.toSorted(latestLogin),

  // Sessions are used while this runs, so that two logins may see two orders. The latest login is the same for both, and
  // comes first.
  'evict-idle'(live) {
    const [latest, ...others] = live.toSorted(latestLogin);
    return latest ? [latest, ...others.toSorted(latestUse)] : [];
  },

  // Sessions that were moved in were logged in before everybody else, so that no login that is refused ends one.
  reject: (live) => live.toSorted((one, other) => wasMoved(other) - wasMoved(one) || latestLogin(other, one)),
};

function wasMoved({ meta }: SessionRecord): number {
  return meta.moved ? 1 : 0;
}

/** A session of a user starts with the login, or when it is moved in. */
function latestLogin(one: SessionRecord, other: SessionRecord): number {
  return other.createdAt - one.createdAt || compareIds(one, other);
}

function latestUse(one: SessionRecord, other: SessionRecord): number {
  return other.lastSeenAt - one.lastSeenAt || compareIds(one, other);
}

function compareIds(one: SessionRecord, other: SessionRecord): number {
  return one.id < other.id ? -1 : 1;
}
