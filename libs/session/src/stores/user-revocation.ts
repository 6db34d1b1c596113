import { type SessionRecord } from './session-store.js';

/**
 * The last end of all sessions of a user: what was bound to the user before it has ended with that, whether anybody finds
 * it or not. Each session that was spared has the moment that counted for it before, so that what an earlier end has
 * ended is not revived by being spared later.
 */
export class UserRevocation {
  private constructor(
    readonly at: number,
    private readonly spared: ReadonlyMap<string, number>,
  ) {}

  /** @param text null: nothing was ever revoked. What cannot be read admits nobody, until the next revocation. */
  static from(text: string | null): UserRevocation {
    if (text === null) return new UserRevocation(0, new Map());
    try {
      const [at, spared] = JSON.parse(text) as [number, [string, number][]];
      if (Number.isFinite(at)) return new UserRevocation(at, new Map(spared));
    } catch {
      // Falls through: what is not JSON is as unreadable as what is the wrong JSON.
    }
    return new UserRevocation(Infinity, new Map());
  }

  admits(record: SessionRecord): boolean {
    return record.createdAt >= this.momentFor(record.id);
  }

  /** @param now epoch milliseconds; what is bound in the same millisecond has ended as well */
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
