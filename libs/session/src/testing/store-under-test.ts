import { type SessionStore } from '../stores/session-store.js';

/** What `describeSessionStore` gets for one suite: a store of its own, and what a test may do to it from outside. */
export interface StoreUnderTest {
  /** The store. */
  store: SessionStore;

  /** Another store over the same data, as another process has it. Needed unless `severalProcesses` is declared false. */
  sibling?(): SessionStore | Promise<SessionStore>;

  /**
   * Lets so many milliseconds pass by the store's clock.
   * @default really waits
   */
  elapse?(ms: number): Promise<void>;

  /**
   * Starts the operations one by one, so that each is inside the store before the next one starts, and then lets all of
   * them go. For stores that can be held back from outside, for instance by a lock on the row. Resolves with the results
   * in the same order.
   * @default starts all of them in the same turn of the event loop, in many rounds
   */
  race?(id: string, operations: readonly (() => Promise<unknown>)[]): Promise<unknown[]>;

  /** Spoils what is stored for this session id. Needed unless `corruptRecords` is declared false. */
  corrupt?(id: string): Promise<void>;

  /** Puts the data out of reach of `store`. Needed, like `mend`, unless `outages` is declared false. */
  cut?(): Promise<void>;

  /** Brings the data back into reach, as they were. */
  mend?(): Promise<void>;

  /** Closes and removes everything. Called once, at the end. */
  dispose(): Promise<void>;
}

/** What stores may lack. Everything that is not declared false is demanded. */
export interface StoreCapabilities {
  /**
   * `save` applies `changes` to the record as it is in the store, in one step: parallel requests keep everybody's writes,
   * `increment` and `push` are exact, and `take` misses no write. A store without it writes `record` whole: the last
   * save wins.
   */
  atomicChanges: boolean;
  /** `save` refuses to let a record grow past `store.limits`. A store that writes `record` whole need not. */
  limits: boolean;
  /** What holds between two requests holds between two processes, too. */
  severalProcesses: boolean;
  /** `listByUser` and `deleteByUser`. A store without them throws SessionUnsupportedError. */
  byUser: boolean;
  /** `clearExpired` deletes and counts. A store without it forgets expired records by itself and always answers 0. */
  clearsExpired: boolean;
  /** Deadlines are judged by the store's clock, so that processes whose clocks disagree end no session early or late. */
  ownClock: boolean;
  /** Records are kept outside of the process and can be found unreadable. */
  corruptRecords: boolean;
  /** The store can be out of reach. */
  outages: boolean;
}

export const everyCapability: StoreCapabilities = {
  atomicChanges: true,
  limits: true,
  severalProcesses: true,
  byUser: true,
  clearsExpired: true,
  ownClock: true,
  corruptRecords: true,
  outages: true,
};
