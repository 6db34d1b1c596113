import { setTimeout } from 'node:timers/promises';
import { SessionStoreUnavailableError } from 'nest-sessions';
import { type RedisStore } from 'nest-sessions/redis';
import { changed, newKey, newRecord } from '../../libs/session/src/testing/store-bench.js';

/** One session, what was acknowledged to its visitor, and when (`performance.now()`). */
interface Visit {
  userId: string;
  key: string;
  /** Keys to which rotations would have moved it whose answers never came: see `rotate`. */
  perhaps: string[];
  createdAt: number;
  attempts: number;
  acknowledged: number[];
  ended: boolean;
}

/** Visitors who log in, click, rotate and log out without pause, and a ledger of what they were told. */
export class RedisTraffic {
  readonly visits: Visit[] = [];
  /** Keys of which a visitor was told that they are of no use any more. */
  readonly deadKeys: string[] = [];
  /** What must never happen. */
  readonly complaints: string[] = [];
  /** Ids of sessions of which nobody learned whether they came about. */
  readonly unsure = new Set<string>();
  unavailable = 0;
  private running = true;
  private readonly visitors: Promise<void>[] = [];

  constructor(private readonly store: RedisStore) {}

  start(visitors: number): void {
    for (let n = 0; n < visitors; n++) this.visitors.push(this.visitor(`user${n}`));
  }

  /** Resolves when every session that goes on was acknowledged again, or when that has come to nothing for too long. */
  async goesOn(): Promise<void> {
    const since = performance.now();
    const served = ({ ended, createdAt, acknowledged }: Visit): boolean =>
      ended || createdAt > since || acknowledged.some((at) => at > since);
    while (this.visits.length === 0 || !this.visits.every(served)) {
      if (performance.now() - since > 60_000) return;
      await setTimeout(20);
    }
  }

  async stop(): Promise<void> {
    this.running = false;
    await Promise.all(this.visitors);
  }

  private async visitor(userId: string): Promise<void> {
    while (this.running) {
      const visit = await this.logIn(userId);
      for (let click = 0; this.running && click < 60; click++) {
        if (click % 10 === 9) await this.rotate(visit);
        else await this.count(visit);
      }
      if (this.running) await this.logOut(visit);
      else await this.present(visit);
    }
  }

  private async logIn(userId: string): Promise<Visit> {
    for (;;) {
      const [key, record] = [newKey(), newRecord({}, { userId })];
      this.unsure.add(record.id);
      if (await this.told(this.store.create(key, record))) {
        this.unsure.delete(record.id);
        const visit = {
          userId,
          key,
          perhaps: [],
          createdAt: performance.now(),
          attempts: 0,
          acknowledged: [],
          ended: false,
        };
        this.visits.push(visit);
        return visit;
      }
    }
  }

  private async count(visit: Visit): Promise<void> {
    const record = await this.told(this.store.load(visit.key));
    if (record === null) await this.present(visit);
    if (!record) return;
    visit.attempts++;
    const changes = { increment: { n: 1 } };
    if (await this.told(this.store.save(visit.key, changes, changed(record, changes)))) {
      visit.acknowledged.push(performance.now());
    }
  }

  private async rotate(visit: Visit): Promise<void> {
    const [old, next] = [visit.key, newKey()];
    const record = await this.told(this.store.load(old));
    if (!record) return;
    const renamed = await this.told(this.store.rename(old, next, {}, record));
    if (renamed === true) this.moved(visit, next);
    if (renamed === false) this.deadKeys.push(next);
    if (renamed === undefined) {
      visit.perhaps.push(next);
      const problem = await this.problemBetween(old, next);
      if (problem) this.complaints.push(`after a failed rotation ${problem}`);
    }
  }

  /**
   * At every moment one of the two keys is alive, and not both. But a rotation whose answer never came may be on its way
   * still, and no client can take back what it has sent: it may come to pass between two questions, or after all of
   * them. The only way is from the old key to the new one, though: when the old is dead the new lives from then on, and
   * when the new lives the old is dead from then on.
   */
  private async problemBetween(old: string, next: string): Promise<string | undefined> {
    if (!(await this.alive(old))) return (await this.alive(next)) ? undefined : 'no key lives';
    return (await this.alive(next)) && (await this.alive(old)) ? 'both keys live' : undefined;
  }

  /** A session has moved to one key at most: the others will never be alive. */
  private moved(visit: Visit, next: string): void {
    this.deadKeys.push(visit.key, ...visit.perhaps.filter((key) => key !== next));
    visit.key = next;
    visit.perhaps = [];
  }

  /** Makes `visit.key` the one that is alive, if a rotation has come to pass late. */
  private async present(visit: Visit): Promise<void> {
    if (await this.alive(visit.key)) return;
    for (const key of visit.perhaps) {
      if (await this.alive(key)) {
        this.moved(visit, key);
        return;
      }
    }
  }

  private async logOut(visit: Visit): Promise<void> {
    visit.ended = true;
    await this.present(visit);
    const { id } = (await this.insist(() => this.store.load(visit.key))) ?? {};
    await this.insist(() => this.store.delete(visit.key, id));
    this.deadKeys.push(visit.key, ...visit.perhaps);
  }

  private async alive(key: string): Promise<boolean> {
    return (await this.insist(() => this.store.load(key))) !== null;
  }

  /** Tries again, as a visitor does who got a 503. */
  private async insist<Answer>(operation: () => Promise<Answer>): Promise<Answer> {
    for (;;) {
      const answer = await this.told(operation());
      if (answer !== undefined) return answer;
    }
  }

  /** Undefined: the store was unavailable, and said so. */
  private async told<Answer>(operation: Promise<Answer>): Promise<Answer | undefined> {
    try {
      return await operation;
    } catch (error) {
      if (!(error instanceof SessionStoreUnavailableError)) this.complaints.push(String(error));
      this.unavailable++;
      await setTimeout(20);
      return undefined;
    }
  }
}
