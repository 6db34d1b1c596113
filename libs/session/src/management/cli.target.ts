import { type ClearingOptions } from './clear-expired.js';

/** Something whose expired sessions can be cleared, to be closed afterwards. */
export interface ClearingTarget {
  clearExpired(options: ClearingOptions): Promise<number>;
  close(): Promise<void>;
}
