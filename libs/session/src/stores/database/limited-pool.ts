import { setTimeout as sleep } from 'node:timers/promises';
import { Deadlines, SilenceError } from '../deadlines.js';
import { isBroken } from '../sql/sql-errors.js';

/** The pool of a driver. */
export interface Pool<Connection> {
  /** @param limit milliseconds after which nobody waits any more for a connection that is being made */
  acquire(limit: number): Promise<Connection>;
  /** @param drop it is not to be used again */
  release(connection: Connection, drop: boolean): void;
  /** Does the error say that the connection is of no more use? */
  isUseless(error: unknown): boolean;
}

/**
 * For so long a connection is tried for again after one that could not be made: a database that is restarted, or a
 * proxy, is back in a moment, and nothing was sent. Milliseconds.
 */
const TRIED_FOR = 1000;
const PAUSE = 25;
/** How often it is looked for work that is late. Milliseconds. */
const LOOK_EVERY = 50;

/**
 * Limits how long a statement may take, its wait for a connection included. A connection that has not answered by then
 * is dropped: where the network has swallowed its packets, it would keep its place in the pool until TCP gives up,
 * which takes a quarter of an hour.
 */
export class LimitedPool<Connection extends object> {
  /** When a connection last answered. Unknown: it is new. */
  private readonly heard = new WeakMap<Connection, number>();
  /** When the latest statement was sent that nothing came back for. */
  private silentSince = 0;
  private readonly deadlines = new Deadlines(LOOK_EVERY);

  constructor(private readonly pool: Pool<Connection>) {}

  /**
   * Functions that pass promises on, instead of async ones that wait for them: every statement goes this way.
   * @param limit milliseconds
   */
  run<Result>(limit: number, send: (connection: Connection) => Promise<Result>): Promise<Result> {
    const deadline = performance.now() + limit;
    return this.acquire(limit, deadline).then((connection) => {
      const sentAt = performance.now();
      return this.deadlines.before(deadline, send(connection), `no answer within ${limit} ms`, (error) =>
        this.release(connection, sentAt, error),
      );
    });
  }

  /** One that works, as far as is known: what fell silent may have been the network, and not one connection alone. */
  private acquire(
    limit: number,
    deadline: number,
    triedUntil = performance.now() + TRIED_FOR,
  ): Promise<Connection> {
    const acquiring = this.pool.acquire(limit);
    return this.deadlines.before(deadline, acquiring, `no connection within ${limit} ms`).then(
      (connection) => {
        if ((this.heard.get(connection) ?? Infinity) >= this.silentSince) return connection;
        this.pool.release(connection, true);
        return this.acquire(limit, deadline, triedUntil);
      },
      async (error: unknown) => {
        // It may still come.
        acquiring.then(
          (late) => this.pool.release(late, false),
          () => {},
        );
        if (!isBroken(error) || performance.now() >= Math.min(triedUntil, deadline)) throw error;
        await sleep(PAUSE);
        return this.acquire(limit, deadline, triedUntil);
      },
    );
  }

  /** @param error undefined: there was an answer */
  private release(connection: Connection, sentAt: number, error: unknown): void {
    const isSilent = error instanceof SilenceError;
    if (isSilent) this.silentSince = Math.max(this.silentSince, sentAt);
    const drop = isSilent || (error !== undefined && this.pool.isUseless(error));
    if (!drop) this.heard.set(connection, performance.now());
    this.pool.release(connection, drop);
  }
}
