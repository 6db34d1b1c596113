import { setTimeout } from 'node:timers/promises';
import { SessionStoreUnavailableError } from 'nest-sessions';
import { type RedisStore } from 'nest-sessions/redis';
import { newKeyHash, newRecord, save } from '../../libs/session/src/testing/store-bench.js';

/** One session, what was acknowledged to its visitor, and when (`performance.now()`). */
interface Visit {
  userId: string;
  id: string;
  createdAt: number;
  attempts: number;
  acknowledged: number[];
  ended: boolean;
}

/** A rotation that was acknowledged: the key hash that is of no use from then on. */
interface Rotation {
  visit: Visit;
  former: string;
  at: number;
}

/** Visitors who log in, click, rotate and log out without pause, and a ledger of what they were told. */
export class RedisTraffic {
  readonly visits: Visit[] = [];
  readonly rotations: Rotation[] = [];
  /** Sessions of which a visitor was told that they have ended. */
  readonly endedIds: string[] = [];
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
    }
  }

  private async logIn(userId: string): Promise<Visit> {
    for (;;) {
      const record = newRecord({}, { userId });
      const { id } = record;
      this.unsure.add(id);
      if (await this.told(this.store.create(id, record))) {
        this.unsure.delete(id);
        const visit = {
          userId,
          id,
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
    const record = await this.told(this.store.load(visit.id));
    if (!record) return;
    visit.attempts++;
    if (await this.told(save(this.store, record, { increment: { n: 1 } }))) {
      visit.acknowledged.push(performance.now());
    }
  }

  /** Whether a rotation without an answer came to pass, the next load tells. A save under the former hash is refused. */
  private async rotate(visit: Visit): Promise<void> {
    const record = await this.told(this.store.load(visit.id));
    if (!record) return;
    const rotated = await this.told(save(this.store, record, { keyHash: newKeyHash() }));
    if (!rotated) return;
    const at = performance.now();
    if ((await this.told(save(this.store, record, { set: { former: true } }))) === false) {
      this.rotations.push({ visit, former: record.keyHash, at });
    } else if (this.unavailable === 0) {
      this.complaints.push('a save under a replaced key hash was taken');
    }
  }

  private async logOut(visit: Visit): Promise<void> {
    visit.ended = true;
    while ((await this.told(this.store.delete(visit.id))) === undefined);
    this.endedIds.push(visit.id);
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
