import { createHash } from 'node:crypto';
import { type Dialect } from './dialect.js';
import { numberedStatement } from './statement.js';

/** First half of our advisory locks' names, so that they do not meet the application's: "nest" in ASCII. */
const LOCK_NAMESPACE = 0x6e657374;

export const postgresDialect: Dialect = {
  statement: numberedStatement,

  // Not clock_timestamp(): a volatile function would keep the index on the bucket from being used.
  now: 'floor(extract(epoch from statement_timestamp()) * 1000)::bigint',

  integer: (value) => `${value}::bigint`,
  hour: (moment) => `((${moment}) / 3600000)::int`,
  isExactly: (column, text) => `${column} = ${text}`,
  isOneOf: (column, list) => `${column} = ANY(${list}::text[])`,
  append: (column, text) => `${column} || ${text}::text`,

  // An update alone would lock the rows in the order of its plan, and two batches would wait for each other. So they are
  // locked first, and none is waited for, which also keeps one locked session from holding up all of its batch.
  saveTogether: ({ name, columns: { sessionKey } }, assignments, isUnexpired) => `
    WITH free AS MATERIALIZED (
      SELECT ${sessionKey} AS free_key FROM ${name}
      WHERE ${sessionKey} = ANY(⟨key⟩::text[]) AND ${isUnexpired} FOR UPDATE SKIP LOCKED
    )
    UPDATE ${name} SET ${assignments.replace(/⟨(\w+)⟩/g, 'given_$1')}
    FROM free, unnest(⟨key⟩::text[], ⟨version⟩::int[], ⟨expiresIn⟩::bigint[], ⟨snapshot⟩::text[], ⟨line⟩::text[])
      AS given (given_key, given_version, given_expiresIn, given_snapshot, given_line)
    WHERE ${sessionKey} = free_key AND ${sessionKey} = given_key
    RETURNING given_key AS saved_key`,

  unlessTaken: (keyColumn) => `ON CONFLICT (${keyColumn}) DO NOTHING`,
  isTaken: () => false,

  // Two cleaners are no faster than one and double the latency of everybody else, so they take turns: who does not
  // get the lock deletes nothing. The lock lives as long as the statement, and needs no connection of its own.
  // A row that somebody has just touched is locked, and skipped; one that was touched before is judged anew.
  // Without the order, the planner reads the whole table where its statistics still expect many expired rows.
  clearExpired: ({ name, columns: { expireBucket, expireDate } }) => `
    WITH turn AS MATERIALIZED (
      SELECT pg_try_advisory_xact_lock(${LOCK_NAMESPACE}, ${lockNumber(name)}) AS mine
    ), expired AS MATERIALIZED (
      SELECT ctid AS place FROM ${name}
      WHERE (SELECT mine FROM turn)
        AND ${expireBucket} <= ${postgresDialect.hour(postgresDialect.now)} AND ${expireDate} <= ${postgresDialect.now}
      ORDER BY ${expireBucket} LIMIT ⟨limit⟩ FOR UPDATE SKIP LOCKED
    )
    DELETE FROM ${name} WHERE ctid = ANY(ARRAY(SELECT place FROM expired))`,

  columns: {
    // Half again as fast to compare as a language's collation, and keys are hexadecimal anyway.
    sessionKey: { collation: 'C' },
    formerKey: { collation: 'C' },
  },
};

function lockNumber(tableName: string): number {
  return createHash('sha256').update(tableName).digest().readInt32BE();
}
