import { AsyncLocalStorage } from 'node:async_hooks';
import { setImmediate } from 'node:timers/promises';

export interface Step {
  name: string;
  /** The session ids that it names. */
  ids: readonly string[];
}

/** A step that a request is about to take. */
interface Pending {
  name: string;
  /** Which of the sessions it is about, by their first appearance in the race. */
  session: number;
  go: () => void;
}

const walking = new AsyncLocalStorage<Walker>();

/**
 * One step of whatever request this is called for: it is held back until the scheduler says that it is its turn.
 * Outside of such requests it happens at once.
 */
export function takeStep<Result>(step: Step, work: () => Promise<Result>): Promise<Result> {
  return walking.getStore()?.take(step, work) ?? work();
}

/** A request that stops before each of its steps. */
export class Walker {
  /** When it took its steps: positions in the order of all steps. */
  readonly taken: number[] = [];
  readonly pending: Pending[] = [];
  #running = 0;
  #done = false;
  #failure: { error: unknown } | undefined;
  #wake: (() => void) | undefined;

  constructor(
    /** Walkers of one name do the same. */
    readonly name: string,
    /** All session ids that the requests of the race have named. */
    private readonly ids: Set<string>,
    work: (walker: Walker) => Promise<void>,
  ) {
    void walking
      .run(this, () => work(this))
      .catch((error: unknown) => (this.#failure = { error }))
      .finally(() => {
        this.#done = true;
        this.#wake?.();
      });
  }

  get started(): boolean {
    return this.#done || this.taken.length > 0;
  }

  async take<Result>({ name, ids }: Step, work: () => Promise<Result>): Promise<Result> {
    for (const id of ids) this.ids.add(id);
    const session = [...this.ids].indexOf(ids[0] ?? '');
    await new Promise<void>((go) => {
      this.pending.push({ name, session, go });
      // Steps that are taken at the same time come in no order that could be relied on.
      this.pending.sort((one, other) => one.session - other.session);
      this.#wake?.();
    });
    try {
      return await work();
    } finally {
      this.#running -= 1;
      this.#wake?.();
    }
  }

  /** Takes one of the pending steps, and resolves when it is done and the request has stopped again. */
  async goOn(pending: Pending, position: number): Promise<void> {
    this.pending.splice(this.pending.indexOf(pending), 1);
    this.taken.push(position);
    this.#running += 1;
    pending.go();
    await this.stopped();
  }

  async stopped(): Promise<void> {
    for (;;) {
      // Whatever follows from a step without another step has happened after this.
      await setImmediate();
      if (this.#failure) throw this.#failure.error;
      if (this.#running === 0 && (this.#done || this.pending.length > 0)) return;
      await new Promise<void>((wake) => (this.#wake = wake));
      this.#wake = undefined;
    }
  }
}

/** One order of the steps of some requests: who took which step. */
export type Order = readonly { walker: Walker; step: string }[];

export interface Exploration<Run> {
  start: () => Promise<Run>;
  finished: (run: Run, order: Order) => Promise<void>;
  /**
   * Loads change nothing. So of the orders that differ only in who of two that load one after the other comes first,
   * run one.
   */
  swapsLoads?: boolean;
}

/**
 * Runs what `start` starts in every order of its steps, each time anew, and hands every order to `finished`. What a
 * request does may depend on what it has seen: after each step it is asked anew who wants to take which.
 *
 * Requests of one name are alike, so that of the orders that differ only in who of them is who, one is run.
 * Resolves with the number of orders.
 */
export async function inEveryOrder<Run extends { walkers: readonly Walker[] }>({
  start,
  finished,
  swapsLoads = false,
}: Exploration<Run>): Promise<number> {
  let orders = 0;
  for (let next: number[] | undefined = []; next !== undefined;) {
    const run = await start();
    const walk = new Walk(run.walkers, swapsLoads);
    await walk.toTheEnd(next);
    if (!walk.repeats) {
      orders += 1;
      await finished(run, walk.order);
    }
    next = nextChoices(walk.choices);
  }
  return orders;
}

interface Choice {
  chosen: number;
  among: number;
}

interface Option {
  walker: Walker;
  pending: Pending;
}

class Walk {
  readonly order: { walker: Walker; step: string }[] = [];
  readonly choices: Choice[] = [];
  /** It is one of those that need not be run: it has come to nothing but steps that another order takes earlier. */
  repeats = false;

  constructor(
    private readonly walkers: readonly Walker[],
    private readonly swapsLoads: boolean,
  ) {}

  /** Takes the given choices, then always the first. */
  async toTheEnd(given: readonly number[]): Promise<void> {
    await Promise.all(this.walkers.map((walker) => walker.stopped()));
    for (;;) {
      const options = this.options();
      if (options.length === 0) return;
      const chosen = given[this.choices.length] ?? 0;
      const option = options[chosen];
      if (option === undefined) throw new Error('The same steps have led somewhere else this time.');
      this.choices.push({ chosen, among: options.length });
      this.order.push({ walker: option.walker, step: option.pending.name });
      await option.walker.goOn(option.pending, this.order.length - 1);
    }
  }

  private options(): Option[] {
    const all = this.walkers
      .filter((walker) => !this.hasTwinBefore(walker))
      .flatMap((walker) => walker.pending.map((pending): Option => ({ walker, pending })));
    const fresh = this.repeats ? all : all.filter((option) => !this.couldHaveComeBefore(option));
    if (fresh.length > 0 || all.length === 0) return this.repeats ? fresh.slice(0, 1) : fresh;
    this.repeats = true;
    return all.slice(0, 1);
  }

  /** Is there another one like this that would have to start first? */
  private hasTwinBefore(walker: Walker): boolean {
    const first = this.walkers.find((other) => other.name === walker.name && !other.started);
    return !walker.started && first !== walker;
  }

  private couldHaveComeBefore({ walker, pending }: Option): boolean {
    const last = this.order.at(-1);
    if (!this.swapsLoads || last?.step !== 'load' || pending.name !== 'load') return false;
    return this.walkers.indexOf(walker) < this.walkers.indexOf(last.walker);
  }
}

/** Counts up, the last digit that has a next value; undefined when there was none. */
function nextChoices(choices: readonly Choice[]): number[] | undefined {
  const last = choices.findLastIndex(({ chosen, among }) => chosen + 1 < among);
  if (last === -1) return undefined;
  return choices.slice(0, last + 1).map(({ chosen }, index) => (index === last ? chosen + 1 : chosen));
}

export function describeOrder(order: Order): string {
  const names = order.map(({ walker }) => walker);
  const all = [...new Set(names)];
  return order
    .map(({ walker, step }) => {
      const alike = all.filter(({ name }) => name === walker.name);
      return `${walker.name}${alike.length > 1 ? ` ${alike.indexOf(walker) + 1}` : ''}: ${step}`;
    })
    .join(', ');
}
