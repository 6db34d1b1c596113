import { type SessionRecord, SessionStore } from '../stores/session-store.js';
import { isStampOf } from './credential-stamp.js';
import { isExpired } from './expiry.js';
import { type SessionEnvironment } from './session-environment.js';
import { policyOf } from './session-lookup.js';
import { within } from './store-access.js';

/** The operations on sessions of others, which no request carries the key of; each with a time limit. */
export type ForeignAccess = Pick<SessionStore, 'find' | 'listByUser' | 'deleteByUser' | 'deleteById'>;

/** @throws SessionStoreUnavailableError when the limit passes; the store's late answer is ignored */
export function limitForeignAccess(store: SessionStore, timeLimit: number): ForeignAccess {
  return {
    find: (key) => within(timeLimit, 'load', store.find(key)),
    listByUser: (userId) => within(timeLimit, 'listByUser', store.listByUser(userId)),
    deleteByUser: (userId, exceptIds) =>
      within(timeLimit, 'deleteByUser', store.deleteByUser(userId, exceptIds)),
    deleteById: (id, userId) => within(timeLimit, 'deleteById', store.deleteById(id, userId)),
  };
}

/** Has the store its own way to list a user's sessions and to end one of them? The contract's only refuses. */
export function knowsUsers(store: SessionStore): boolean {
  return (['listByUser', 'deleteById'] as const).every(
    (operation) => store[operation] !== SessionStore.prototype[operation],
  );
}

/** Which of this user's records a request would be let in with: stores know neither today's options nor credentials. */
export async function acceptanceOf(
  userId: string | null,
  environment: SessionEnvironment,
): Promise<(record: SessionRecord) => boolean> {
  const { currentStamp, now } = environment;
  const stamp = currentStamp && userId !== null ? await currentStamp(userId) : undefined;
  return (record) =>
    !isExpired(record, now(), policyOf(record, environment)) &&
    (stamp === undefined || isStampOf(record.meta.stamp, stamp));
}

/** @throws SessionUnsupportedError when the store cannot list */
export async function liveSessionsOf(
  userId: string,
  access: Pick<ForeignAccess, 'listByUser'>,
  environment: SessionEnvironment,
): Promise<SessionRecord[]> {
  const records = await access.listByUser(userId);
  return records.filter(await acceptanceOf(userId, environment));
}
