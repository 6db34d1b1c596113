import { type SessionCount } from '../session-store.js';
import { type RedisCommands } from './redis-commands.js';

/** How many keys a count looks at in one round trip, and in how many round trips. Beyond, it estimates. */
const [COUNTED_AT_ONCE, COUNTING_TRIPS] = [1000, 256];
/** How many round trips a page may take. */
const PAGE_TRIPS = 20;
/** How many keys a round trip for a page looks at: at least, and at most, where most keys are those of others. */
const [FEWEST_AT_ONCE, MOST_AT_ONCE] = [10, 1000];

/** What SCAN says when it is at the end, and what it begins with. */
const START = '0';

/** `<number of the primary>.<cursor of its SCAN>` */
const CURSOR = /^(\d{1,4})\.(\d{1,20})$/;
/** Redis refuses a larger one. */
const LAST_CURSOR = 2n ** 64n - 1n;

/**
 * Walks over the keys of all sessions, by SCAN: a key that is there all the time is met, one that comes or goes in between
 * may be or not. Each round trip looks at a bounded number of keys, those of others in the same database included.
 */
export class SessionScan {
  private readonly pattern: string;
  private readonly idAt: number;

  constructor(
    private readonly commands: RedisCommands,
    prefix: string,
  ) {
    this.pattern = prefix.replaceAll(/[*?[\]\\^]/g, '\\$&') + '?'.repeat(22);
    this.idAt = prefix.length;
  }

  async count(operation: string): Promise<SessionCount> {
    const counts = await Promise.all(
      this.commands.primaries().map((primary) => this.countOn(operation, primary)),
    );
    return { live: counts.reduce((sum, count) => sum + count, 0), loggedIn: null };
  }

  /** About so many session ids after this cursor, and the next one; null: that was all. */
  async page(
    operation: string,
    after: string | null,
    limit: number,
  ): Promise<{ ids: string[]; next: string | null }> {
    const primaries = this.commands.primaries();
    const ids = new Set<string>();
    let [, number = '', cursor = ''] = CURSOR.exec(after ?? `0.${START}`) ?? [];
    if (cursor !== '' && BigInt(cursor) > LAST_CURSOR) return { ids: [], next: null };
    let size = Math.max(limit, FEWEST_AT_ONCE);
    for (let trip = 0; trip < PAGE_TRIPS && ids.size < limit; trip++) {
      const primary = primaries[Number(number)];
      if (number === '' || primary === undefined) return { ids: [...ids], next: null };
      const found = await this.scan(operation, primary, cursor, size);
      for (const id of found.ids) ids.add(id);
      size =
        found.ids.length === 0
          ? Math.min(2 * size, MOST_AT_ONCE)
          : Math.max(limit - ids.size, FEWEST_AT_ONCE);
      cursor = found.next;
      if (cursor === START) number = String(Number(number) + 1);
    }
    const isOver = primaries[Number(number)] === undefined;
    return { ids: [...ids], next: isOver ? null : `${number}.${cursor}` };
  }

  private async countOn(operation: string, primary: string): Promise<number> {
    let [count, cursor] = [0, START];
    for (let trip = 0; trip < COUNTING_TRIPS; trip++) {
      const found = await this.scan(operation, primary, cursor, COUNTED_AT_ONCE);
      count += found.ids.length;
      cursor = found.next;
      if (cursor === START) return count;
    }
    const keys = Number(await this.commands.ask(operation, primary, 'dbsize'));
    return Math.round((count * keys) / (COUNTED_AT_ONCE * COUNTING_TRIPS));
  }

  private async scan(
    operation: string,
    primary: string,
    cursor: string,
    size: number,
  ): Promise<{ ids: string[]; next: string }> {
    const command = ['scan', cursor, 'match', this.pattern, 'count', String(size)] as const;
    const [next, keys] = (await this.commands.ask(operation, primary, ...command)) as [unknown, string[]];
    const ids = keys.map((key) => key.slice(this.idAt)).filter((id) => /^[\w-]{22}$/.test(id));
    return { ids, next: String(next) };
  }
}
