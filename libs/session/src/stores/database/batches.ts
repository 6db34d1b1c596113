import { isRefusal } from './database-errors.js';

/** Enough to keep the database busy; more of them would only be smaller. */
const UNDER_WAY = 2;
const BATCH_SIZE = 128;

/** Milliseconds after which those who wait go ahead of a batch that has not come back. */
const PATIENCE = 200;

/** How a batch is sent. Each is one statement. */
export interface Sender<Item, Answer> {
  one(item: Item): Promise<Answer>;
  /** Two items or more, 128 at most. An item that is left without an answer is sent on its own. */
  together(items: readonly Item[]): Promise<ReadonlyMap<Item, Answer>>;
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
  private underWay = 0;

  constructor(private readonly sender: Sender<Item, Answer>) {}

  add(item: Item): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ item, resolve, reject });
      this.sendNext();
    });
  }

  private sendNext(): void {
    if (this.underWay >= UNDER_WAY) return;
    const batch = this.waiting.splice(0, BATCH_SIZE);
    const [first] = batch;
    if (first === undefined) return;
    if (batch.length === 1) {
      const answer = this.sender.one(first.item);
      this.makeWayAfter(answer);
      answer.then(first.resolve, first.reject);
      return;
    }
    const answers = this.sender.together(batch.map(({ item }) => item));
    // First of all, so that the database is at work while this process is with the answers.
    this.makeWayAfter(answers);
    answers.then(
      (given) => this.settle(batch, given),
      (error: unknown) => this.fail(batch, error),
    );
  }

  /** Also without an answer, for a connection that hangs is not to hold up those that work. */
  private makeWayAfter(answer: Promise<unknown>): void {
    this.underWay += 1;
    let counts = true;
    const makeWay = (): void => {
      clearTimeout(timer);
      if (!counts) return;
      counts = false;
      this.underWay -= 1;
      this.sendNext();
    };
    const timer = setTimeout(makeWay, PATIENCE).unref();
    answer.then(makeWay, makeWay);
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
   * nobody knows whether the batch was carried out, and a save must not be carried out twice.
   */
  private fail(batch: readonly Waiting<Item, Answer>[], error: unknown): void {
    if (isRefusal(error)) return this.settle(batch, new Map());
    for (const { reject } of batch) reject(error);
  }
}
