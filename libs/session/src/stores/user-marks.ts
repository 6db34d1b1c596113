import { hash } from 'node:crypto';
import { KeyLock } from './key-lock.js';
import { type EncodedRecord } from './record-codec.js';
import { type SessionRecord } from './session-store.js';

/** Small texts under names of their own, beside the sessions. */
export interface Marks {
  getMark(operation: string, name: string): Promise<string | null>;
  /** @param lifetime milliseconds */
  putMark(operation: string, name: string, text: string, lifetime: number): Promise<void>;
}

/** No browser keeps a cookie longer than 400 days. Milliseconds. */
const REVOCATION_LASTS = 400 * 24 * 60 * 60 * 1000;
/** A list of sessions lasts until the end of the step in which the last of them expires, so that few uses write it. */
const STEP = 10 * 60 * 1000;
/** How many sessions of a user are worked on at once. */
const AT_ONCE = 8;

/** The sessions of one user. */
interface SessionList {
  /** Until when it is needed. Epoch milliseconds. */
  until: number;
  ids: string[];
}

/**
 * When all sessions of a user were last ended, as a small text that a store keeps: a session that was created before is
 * over, whether the store finds it or not. A session that was spared keeps the moment that counted for it before, so
 * that sparing it does not bring back what an earlier end has ended.
 */
class UserRevocation {
  private constructor(
    /** Epoch milliseconds. */
    readonly at: number,
    private readonly spared: ReadonlyMap<string, number>,
  ) {}

  /** @param text null: nothing was ever revoked. A text that cannot be read admits nobody, until the next revocation. */
  static from(text: string | null): UserRevocation {
    if (text === null) return new UserRevocation(0, new Map());
    try {
      const [at, spared] = JSON.parse(text) as [number, [string, number][]];
      if (Number.isFinite(at)) return new UserRevocation(at, new Map(spared));
    } catch {
      // Falls through: a text that is not JSON is as unreadable as the wrong JSON.
    }
    return new UserRevocation(Infinity, new Map());
  }

  admits({ id, createdAt }: Pick<SessionRecord, 'id' | 'createdAt'>): boolean {
    return createdAt >= this.momentFor(id);
  }

  /** @param now epoch milliseconds; a session that is created in the same millisecond has ended as well */
  next(now: number, exceptIds: readonly string[]): UserRevocation {
    const at = Number.isFinite(this.at) ? Math.max(now + 1, this.at) : now + 1;
    return new UserRevocation(at, new Map(exceptIds.map((id) => [id, this.momentFor(id)])));
  }

  toText(): string {
    return JSON.stringify([this.at, [...this.spared].filter(([, moment]) => Number.isFinite(moment))]);
  }

  private momentFor(id: string): number {
    return this.spared.get(id) ?? this.at;
  }
}

/**
 * Which sessions a user has, for stores that find a session by its id alone: a **list** of ids, and the **revocation**.
 *
 * Within this process the work on one user's list runs one at a time. Of two processes that write it at once, the later
 * one wins: a session may be missing from it, and the revocation ends it all the same.
 */
export class UserMarks {
  private readonly lock = new KeyLock();

  constructor(private readonly marks: Marks) {}

  async revocationOf(operation: string, userId: string): Promise<UserRevocation> {
    return UserRevocation.from(await this.marks.getMark(operation, revocationOf(userId)));
  }

  /**
   * Ends the sessions that the user has by now, except those with these ids.
   * @returns what counted before, and what counts now
   */
  revoke(
    operation: string,
    userId: string,
    exceptIds: readonly string[],
  ): Promise<[before: UserRevocation, after: UserRevocation]> {
    return this.lock.run(userId, async () => {
      const before = await this.revocationOf(operation, userId);
      const after = before.next(Date.now(), exceptIds);
      await this.marks.putMark(operation, revocationOf(userId), after.toText(), REVOCATION_LASTS);
      return [before, after];
    });
  }

  /**
   * Enters a session that has been written in the list of its user. Some of the others leave it if they are no longer
   * there; with the next session it is the turn of more.
   */
  async enter(
    operation: string,
    { id, userId, expiresAt }: EncodedRecord,
    isThere: (id: string, userId: string) => Promise<boolean>,
  ): Promise<void> {
    if (userId === null) return;
    await this.lock.run(userId, async () => {
      const list = await this.list(operation, userId);
      const others = list.ids.filter((other) => other !== id);
      const looked = others.splice(0, AT_ONCE);
      const there = await Promise.all(looked.map((other) => isThere(other, userId)));
      const ids = [...others, ...looked.filter((_, index) => there[index]), id];
      await this.putList(operation, userId, { until: Math.max(list.until, endOfStep(expiresAt)), ids });
    });
  }

  /**
   * What `work` makes of each session on the list of this user, some at once. Those of which it makes null leave the list.
   */
  forEach<Result>(
    operation: string,
    userId: string,
    work: (id: string) => Promise<Result | null>,
  ): Promise<Result[]> {
    return this.lock.run(userId, async () => {
      const list = await this.list(operation, userId);
      const results = new Map<string, Result>();
      for (let start = 0; start < list.ids.length; start += AT_ONCE) {
        const batch = list.ids.slice(start, start + AT_ONCE);
        const made = await Promise.all(batch.map(work));
        for (const [index, result] of made.entries()) {
          if (result !== null) results.set(batch[index] as string, result);
        }
      }
      if (results.size < list.ids.length) {
        await this.putList(operation, userId, { ...list, ids: [...results.keys()] });
      }
      return [...results.values()];
    });
  }

  /** A list that cannot be read is as good as lost. */
  private async list(operation: string, userId: string): Promise<SessionList> {
    const text = await this.marks.getMark(operation, listOf(userId));
    try {
      const { until, ids } = JSON.parse(text ?? '') as Partial<SessionList>;
      if (Number.isFinite(until) && Array.isArray(ids)) return { until, ids } as SessionList;
    } catch {
      // Falls through.
    }
    return { until: 0, ids: [] };
  }

  private putList(operation: string, userId: string, list: SessionList): Promise<void> {
    const lifetime = Math.max(STEP, list.until - Date.now());
    return this.marks.putMark(operation, listOf(userId), JSON.stringify(list), lifetime);
  }
}

/** Does the list have to last longer when a session's deadline moves like this? */
export function outlivesList(before: number, after: number): boolean {
  return endOfStep(before) < endOfStep(after);
}

function endOfStep(moment: number): number {
  return (Math.floor(moment / STEP) + 1) * STEP;
}

/** Hashed, so that no id, whatever is in it, reaches into another name; as JSON, which tells lone surrogates apart. */
function hashOf(userId: string): string {
  return hash('sha256', JSON.stringify(userId));
}

const listOf = (userId: string): string => `user:${hashOf(userId)}`;
const revocationOf = (userId: string): string => `revoked:${hashOf(userId)}`;
