import { createHash } from 'node:crypto';
import { KeyLock } from './key-lock.js';
import { type SessionRecord } from './session-store.js';
import { UserRevocation } from './user-revocation.js';

/** Small texts under names of their own, beside the sessions. */
export interface MarkAccess {
  getMark(operation: string, name: string): Promise<string | null>;
  /** @param lifetime milliseconds */
  putMark(operation: string, name: string, text: string, lifetime: number): Promise<void>;
}

/** No browser keeps a cookie longer than 400 days. Milliseconds. */
const REVOCATION_LASTS = 400 * 24 * 60 * 60 * 1000;

/** Marks last until the end of the step in which their session ends, so that most uses of it leave them as they are. */
const STEP = 10 * 60 * 1000;

/** Of so many entries a login finds out whether they are of any use still; with the next one it is the turn of others. */
const LOOKED_AT = 8;

interface Index {
  /** Until when it is needed. Epoch milliseconds. */
  until: number;
  keys: string[];
}

/**
 * Which sessions are a user's, and which one has a certain id, for stores that find a session by its store key alone.
 * Within this process the work on one user's index runs one at a time. Of two processes the later write wins, so that
 * an entry can get lost: the session is not listed then, and the revocation ends it all the same.
 */
export class UserMarks {
  private readonly lock = new KeyLock();

  constructor(private readonly access: MarkAccess) {}

  async admits(operation: string, record: SessionRecord): Promise<boolean> {
    return record.userId === null || (await this.revocation(operation, record.userId)).admits(record);
  }

  /** What counted before. From now on, nothing counts that is bound by now, but for the sessions with these ids. */
  revoke(
    operation: string,
    userId: string,
    exceptIds: readonly string[],
  ): Promise<[before: UserRevocation, after: UserRevocation]> {
    return this.lock.run(userId, async () => {
      const before = await this.revocation(operation, userId);
      const after = before.next(Date.now(), exceptIds);
      await this.access.putMark(operation, revokedOf(userId), after.toText(), REVOCATION_LASTS);
      return [before, after];
    });
  }

  /**
   * Once the session is under its key: what was bound before a revocation needs no entry to be ended by it.
   * @param formerKey where a rotation has moved it from
   * @param isOfUse is there a session of this user under this key?
   */
  async enter(
    operation: string,
    key: string,
    { id, userId, expiresAt }: SessionRecord,
    isOfUse: (key: string, userId: string) => Promise<boolean>,
    formerKey?: string,
  ): Promise<void> {
    const until = endOfStep(expiresAt);
    await this.access.putMark(operation, idOf(id), key, until - Date.now());
    if (userId === null) return;
    await this.lock.run(userId, async () => {
      const index = await this.index(operation, userId);
      const others = index.keys.filter((other) => other !== key && other !== formerKey);
      const looked = others.slice(0, LOOKED_AT);
      const ofUse = await Promise.all(looked.map((other) => isOfUse(other, userId)));
      const keys = [...others.slice(LOOKED_AT), ...looked.filter((_, place) => ofUse[place]), key];
      await this.putIndex(operation, userId, { keys, until: Math.max(index.until, until) });
    });
  }

  keyOf(operation: string, id: string): Promise<string | null> {
    return this.access.getMark(operation, idOf(id));
  }

  async keys(operation: string, userId: string): Promise<string[]> {
    return (await this.index(operation, userId)).keys;
  }

  /**
   * What there is under the keys of the index. Those with nothing leave it.
   * @param look null: nothing of this user
   */
  list<Found>(
    operation: string,
    userId: string,
    look: (key: string) => Promise<Found | null>,
  ): Promise<Found[]> {
    return this.lock.run(userId, async () => {
      const { keys, until } = await this.index(operation, userId);
      const found = new Map<string, Found>();
      for (let start = 0; start < keys.length; start += LOOKED_AT) {
        const looking = keys
          .slice(start, start + LOOKED_AT)
          .map(async (key) => [key, await look(key)] as const);
        for (const [key, value] of await Promise.all(looking)) if (value !== null) found.set(key, value);
      }
      if (found.size < keys.length)
        await this.putIndex(operation, userId, { until, keys: [...found.keys()] });
      return [...found.values()];
    });
  }

  private async revocation(operation: string, userId: string): Promise<UserRevocation> {
    return UserRevocation.from(await this.access.getMark(operation, revokedOf(userId)));
  }

  /** One that cannot be read is as good as lost. */
  private async index(operation: string, userId: string): Promise<Index> {
    const text = await this.access.getMark(operation, indexOf(userId));
    try {
      const { until, keys } = JSON.parse(text ?? '') as Partial<Index>;
      if (Number.isFinite(until) && Array.isArray(keys)) return { until, keys } as Index;
    } catch {
      // Falls through.
    }
    return { until: 0, keys: [] };
  }

  private putIndex(operation: string, userId: string, index: Index): Promise<void> {
    const lifetime = Math.max(STEP, index.until - Date.now());
    return this.access.putMark(operation, indexOf(userId), JSON.stringify(index), lifetime);
  }
}

/** Do the marks of a session, as they are, serve the session as it will be? */
export function stillServe(current: SessionRecord, next: SessionRecord): boolean {
  return current.userId === next.userId && endOfStep(current.expiresAt) >= endOfStep(next.expiresAt);
}

/** Is this the name of one of these marks? */
export function isUserMark(name: string): boolean {
  return /^(?:id|user|revoked):/.test(name);
}

function endOfStep(moment: number): number {
  return (Math.floor(moment / STEP) + 1) * STEP;
}

/** Hashed, so that no id, whatever it holds, reaches into another name; as JSON, which tells apart what is no good text. */
function hash(id: string): string {
  return createHash('sha256').update(JSON.stringify(id)).digest('hex');
}

const idOf = (id: string): string => `id:${hash(id)}`;
const indexOf = (userId: string): string => `user:${hash(userId)}`;
const revokedOf = (userId: string): string => `revoked:${hash(userId)}`;
