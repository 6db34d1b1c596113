/** Holds requests in their handlers, with the session loaded and nothing done yet, until the test lets them go on. */
export class Checkpoint {
  #waiting = 0;
  #announce!: () => void;
  /** Lets all of them go on, those to come as well. */
  open!: () => void;
  /** Resolves when as many wait as were expected. */
  readonly reached = new Promise<void>((resolve) => {
    this.#announce = resolve;
  });
  readonly #opened = new Promise<void>((resolve) => {
    this.open = resolve;
  });

  constructor(private readonly expected = 1) {}

  wait(): Promise<void> {
    this.#waiting += 1;
    if (this.#waiting === this.expected) this.#announce();
    return this.#opened;
  }
}

export class Checkpoints extends Map<string, Checkpoint> {}
