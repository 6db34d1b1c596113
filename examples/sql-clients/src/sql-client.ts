import { type SqlEngineOptions } from 'nest-sessions/sql';

/** A client on a database, and what `sqlEngine()` takes for it. */
export interface SqlClient {
  options: SqlEngineOptions;
  close(): void | Promise<void>;
}
