/** What a bench asks a contestant, and what that answers. */
export type Question = 'start' | 'stop';

export type Answer =
  | { type: 'listening'; url: string }
  | { type: 'started' }
  /** Since the start: microseconds of CPU time, all threads together, and what was sent to which store. */
  | { type: 'spent'; cpu: number; operations: Operations };

/** SQL statements and Redis commands. */
export interface Operations {
  SQL: number;
  Redis: number;
}
