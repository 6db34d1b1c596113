import { SessionsPerUserError } from '../session.errors.js';
import { KeyLock } from '../stores/key-lock.js';
import { type SessionRecord } from '../stores/session-store.js';
import { lastLoginOf } from './expiry.js';
import { type SessionEnvironment } from './session-environment.js';
import { type ForeignAccess, liveSessionsOf } from './user-sessions.js';

export interface SessionLimit {
  max: number;
  /**
   * Which session ends when a login makes one too many: `'evict-oldest'`, the one whose login is the longest ago,
   * `'evict-idle'`, the one that was not used for the longest time, or `'reject'`, the new one, and the client gets a 409.
   */
  policy: 'evict-oldest' | 'evict-idle' | 'reject';
}

/**
 * What a login has to do when it has been saved. Logins may run at the same time, in any process: each ends whatever is
 * beyond the limit in the one order that all of them see. So the last to look has seen all and leaves no surplus, and
 * what comes first in that order is ended by nobody. Those of one process take turns, only to spare the store: together
 * they would all try to end the same sessions.
 *
 * @throws SessionsPerUserError for a login that the policy refuses
 */
export function limitSessions(
  access: Pick<ForeignAccess, 'listByUser' | 'deleteById'>,
  environment: SessionEnvironment,
  { max, policy }: SessionLimit,
): (newcomer: SessionRecord) => Promise<void> {
  const turns = new KeyLock();

  async function enforce(id: string, userId: string): Promise<void> {
    const { emit } = environment;
    const ranked = rankings[policy](await liveSessionsOf(userId, access, environment));
    const index = ranked.findIndex((record) => record.id === id);
    // Another login may have ended this one before it was its turn to count.
    const place = index === -1 ? Infinity : index;
    // Sessions from before are nothing that a refused login may end; those that came after it are refused as it is.
    const surplus = ranked.slice(policy === 'reject' ? Math.max(max, place) : max);
    if (surplus.length > 0) emit({ type: 'limit', userId });
    for (const { id: sessionId } of surplus) {
      const ended = await access.deleteById(sessionId, userId);
      if (ended) emit({ type: 'ended', reason: 'limit', sessionId, userId });
    }
    if (policy === 'reject' && Math.min(place, ranked.length) >= max) throw new SessionsPerUserError(max);
  }

  return async ({ id, userId }) => {
    if (userId !== null) await turns.run(userId, () => enforce(id, userId));
  };
}

/** The live sessions of a user in the order in which they stay. */
const rankings: Record<SessionLimit['policy'], (live: SessionRecord[]) => SessionRecord[]> = {
  'evict-oldest': (live) => live.toSorted(latestLogin),

  // Use goes on meanwhile, so that two logins may see two orders. The latest login is the same for both, and comes first.
  'evict-idle'(live) {
    const [latest, ...others] = live.toSorted(latestLogin);
    return latest ? [latest, ...others.toSorted(latestUse)] : [];
  },

  reject: (live) => live.toSorted((one, other) => latestLogin(other, one)),
};

function latestLogin(one: SessionRecord, other: SessionRecord): number {
  return lastLoginOf(other) - lastLoginOf(one) || compareIds(one, other);
}

function latestUse(one: SessionRecord, other: SessionRecord): number {
  return other.lastSeenAt - one.lastSeenAt || compareIds(one, other);
}

function compareIds(one: SessionRecord, other: SessionRecord): number {
  return one.id < other.id ? -1 : 1;
}
