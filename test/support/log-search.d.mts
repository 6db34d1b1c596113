import { type LogEntry } from './log-files.js';

export interface Leak {
  entry: LogEntry;
  /** What leaked, and in which form. */
  what: string;
  /** Where, without what leaked. */
  line: string;
}

export function searchLogs(entries: LogEntry[], secrets: Iterable<string>): Leak[];
