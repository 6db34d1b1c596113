import { setTimeout } from 'node:timers/promises';
import { SessionStoreUnavailableError } from 'nest-sessions';
import { type RedisStore } from 'nest-sessions/redis';
import { changed, newKey, newRecord } from '../../libs/session/src/testing/store-bench.js';

/** One session, what was acknowledged to its visitor, and when (`performance.now()`). */
interface Visit {
  userId: string;
  key: string;
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
      if (performance.now() - since > 20_000) return;
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
    if (renamed === false) return;
    if (renamed === undefined) {
      // The visitor saw an error, and whether it was done nobody knows; but one of the keys it must be.
      const alive = (await this.alive(old)) ? old : next;
      if ((await this.alive(old)) === (await this.alive(next))) {
        this.complaints.push(
          `after a failed rotation ${(await this.alive(old)) ? 'both keys live' : 'no key lives'}`,
        );
      }
      visit.key = alive;
      this.deadKeys.push(alive === old ? next : old);
      return;
    }
    visit.key = next;
    this.deadKeys.push(old);
  }

  private async logOut(visit: Visit): Promise<void> {
    visit.ended = true;
    const { id } = (await this.insist(() => this.store.load(visit.key))) ?? {};
    await this.insist(() => this.store.delete(visit.key, id));
    this.deadKeys.push(visit.key);
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
