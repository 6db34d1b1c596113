import { type SessionStore } from '../stores/session-store.js';

/** What `describeSessionStore` gets for one suite: a store of its own, and what a test may do to it from outside. */
export interface StoreUnderTest {
  store: SessionStore;

  /** Another store over the same data, as another process has it. Needed unless `severalProcesses` is declared false. */
  sibling?(): SessionStore | Promise<SessionStore>;

  /**
   * Lets so many milliseconds pass by the store's clock.
   * @default really waits
   */
  elapse?(ms: number): Promise<void>;

  /**
   * Starts the operations one by one, so that each is inside the store before the next one starts, and lets them go
   * together. For stores that can be held back from outside, such as by a lock on a row.
   * @default starts all of them in the same turn of the event loop, in many rounds
   */
  race?(key: string, operations: readonly (() => Promise<unknown>)[]): Promise<unknown[]>;

  /** Spoils what is stored under this key. Needed unless `corruptRecords` is declared false. */
  corrupt?(key: string): Promise<void>;

  /** Puts the store out of reach of `store`. Needed, like `mend`, unless `outages` is declared false. */
  cut?(): Promise<void>;

  /** What was cut off can be reached again, with the data that it had. */
  mend?(): Promise<void>;

  /** Closes and removes everything. Called once, at the end. */
  dispose(): Promise<void>;
}

/** What stores may lack. Whatever is not declared false is demanded. */
export interface StoreCapabilities {
  /**
   * `save` and `rename` apply `changes` to the record as it is in the store, in one step: parallel requests keep the
   * writes of all, `increment` and `push` are exact. A store without writes `record` whole; the last one wins.
   */
  atomicChanges: boolean;
  /** Everything that holds between two requests holds between two processes, too. */
  severalProcesses: boolean;
  /** `delete` finds a record by its session id when a rename has moved it to another key. */
  findsRenamed: boolean;
  /** `listByUser`, `deleteByUser` and `deleteById`. A store without throws SessionUnsupportedError. */
  byUser: boolean;
  /** `clearExpired` deletes and counts. A store without forgets expired records by itself and always answers 0. */
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
  severalProcesses: true,
  findsRenamed: true,
  byUser: true,
  clearsExpired: true,
  ownClock: true,
  corruptRecords: true,
  outages: true,
};
