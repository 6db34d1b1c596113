/** The package brings no types. */
declare module 'connect-pg-simple' {
  import { type Store } from 'express-session';
  import { type Pool } from 'pg';

  export default function connectPgSimple(session: {
    Store: typeof Store;
  }): new (options: { pool: Pool; disableTouch?: boolean; pruneSessionInterval?: number | false }) => Store;
}
