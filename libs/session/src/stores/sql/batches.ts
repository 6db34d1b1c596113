import { Deadlines } from '../deadlines.js';
import { isRefusal } from './sql-errors.js';

/** Enough to keep the database busy; more of them would only be smaller. */
const UNDER_WAY = 2;
const BATCH_SIZE = 128;

/** Milliseconds after which, or a little later, the items that wait go ahead of a batch that has not come back. */
const PATIENCE = 200;

/** How a batch is sent. Each is one statement. */
export interface Sender<Item, Answer> {
  one(item: Item): Promise<Answer>;
  /**
   * Two items or more, 128 at most. An item that is left without an answer is sent on its own. Undefined where the
   * database has no statement for several.
   */
  together: ((items: readonly Item[]) => Promise<ReadonlyMap<Item, Answer>>) | undefined;
  /** Items of the same row are sent one after the other. Undefined: they may travel together. */
  rowOf?(item: Item): string;
}

interface Waiting<Item, Answer> {
  readonly item: Item;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Lets the work of concurrent requests travel together. An item is sent at once while fewer than two batches are under
 * way; otherwise it waits for one of them to come back, and goes with all that have come in the meantime.
 *
 * Nothing joins a batch that has been sent, so a load sees all that was written before it was asked for.
 */
export class Batches<Item, Answer> {
  private waiting: Waiting<Item, Answer>[] = [];
  /** For each row that an item waits or is under way for: the items behind it. */
  private readonly queues = new Map<string, Waiting<Item, Answer>[]>();
  private underWay = 0;
  private readonly deadlines = new Deadlines(PATIENCE / 4);

  constructor(private readonly sender: Sender<Item, Answer>) {}

  add(item: Item): Promise<Answer> {
    if (!this.sender.together) return this.sender.one(item);
    return new Promise((resolve, reject) => {
      const row = this.sender.rowOf?.(item);
      const queue = row === undefined ? undefined : this.queues.get(row);
      if (queue) {
        queue.push({ item, resolve, reject });
        return;
      }
      if (row !== undefined) this.queues.set(row, []);
      this.waiting.push({ item, resolve, reject });
      this.sendNext();
    });
  }

  private sendNext(): void {
    const { sender } = this;
    if (this.underWay >= UNDER_WAY || !sender.together) return;
    const batch = this.waiting.splice(0, BATCH_SIZE);
    const [first] = batch;
    if (first === undefined) return;
    this.underWay += 1;
    const makeWay = (): void => {
      this.underWay -= 1;
      for (const { item } of batch) this.callNext(sender.rowOf?.(item));
      this.sendNext();
    };
    // Also without an answer: a connection that hangs must not hold up those that work.
    const deadline = this.deadlines.set(performance.now() + PATIENCE, makeWay);
    // Way is made first, so that the database works while this process hands out the answers.
    const after =
      <Given>(use: (given: Given) => void) =>
      (given: Given): void => {
        if (this.deadlines.done(deadline)) makeWay();
        use(given);
      };
    if (batch.length === 1) {
      sender.one(first.item).then(after(first.resolve), after(first.reject));
    } else {
      sender.together(batch.map(({ item }) => item)).then(
        after((given) => this.settle(batch, given)),
        after((error) => this.fail(batch, error)),
      );
    }
  }

  private callNext(row: string | undefined): void {
    if (row === undefined) return;
    const next = this.queues.get(row)?.shift();
    if (next) this.waiting.push(next);
    else this.queues.delete(row);
  }

  private settle(batch: readonly Waiting<Item, Answer>[], answers: ReadonlyMap<Item, Answer>): void {
    for (const { item, resolve, reject } of batch) {
      // Asked for with `has`, because an answer may be undefined.
      if (answers.has(item)) resolve(answers.get(item) as Answer);
      else this.sender.one(item).then(resolve, reject);
    }
  }

  /**
   * One item may have been refused, and all with it: sent on their own, only that one fails. After any other error
   * it is not known whether the batch was carried out, and a save must not be carried out twice.
   */
  private fail(batch: readonly Waiting<Item, Answer>[], error: unknown): void {
    if (isRefusal(error)) return this.settle(batch, new Map());
    for (const { reject } of batch) reject(error);
  }
}
