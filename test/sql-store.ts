import { Global, Injectable, Logger, Module } from '@nestjs/common';
import {
  type SessionChanges,
  SessionModule,
  type SessionRecord,
  SessionRecordCorruptError,
  SessionStore,
  SessionStoreUnavailableError,
} from 'nest-sessions';
import { DatabaseError, Pool, type QueryResult } from 'pg';

@Injectable()
export class SqlStore extends SessionStore {
  constructor(private readonly pool: Pool) {
    super();
  }

  async load(id: string): Promise<SessionRecord | null> {
    const { rows } = await this.run(
      'load',
      'SELECT record FROM app_session WHERE id = $1 AND expires_at > $2',
      [id, Date.now()],
    );
    return rows[0] === undefined ? null : decode(rows[0].record);
  }

  async create(id: string, record: SessionRecord): Promise<boolean> {
    const { rowCount } = await this.run(
      'create',
      'INSERT INTO app_session (id, key_hash, record, expires_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING',
      [id, record.keyHash, JSON.stringify(record), record.expiresAt],
    );
    return rowCount === 1;
  }

  async save(id: string, keyHash: string, _changes: SessionChanges, record: SessionRecord): Promise<boolean> {
    const text = JSON.stringify({ ...record, version: record.version + 1 });
    const { rowCount } = await this.run(
      'save',
      `UPDATE app_session SET key_hash = $3, record = $4, expires_at = $5
       WHERE id = $1 AND key_hash = $2 AND expires_at > $6`,
      [id, keyHash, record.keyHash, text, record.expiresAt, Date.now()],
    );
    return rowCount === 1;
  }

  async delete(id: string): Promise<boolean> {
    const { rowCount } = await this.run('delete', 'DELETE FROM app_session WHERE id = $1', [id]);
    return rowCount === 1;
  }

  protected async run(
    operation: string,
    sql: string,
    values: unknown[],
  ): Promise<QueryResult<{ record: string }>> {
    try {
      return await this.pool.query(sql, values);
    } catch (cause) {
      // A wrong statement or a missing table is our fault. Everything else may be temporary.
      if (cause instanceof DatabaseError && cause.code?.startsWith('42')) throw cause;
      throw new SessionStoreUnavailableError(operation, 'PostgreSQL cannot be reached. Check the server.', {
        cause,
      });
    }
  }
}

export function decode(text: string): SessionRecord {
  try {
    return JSON.parse(text) as SessionRecord;
  } catch {
    throw new SessionRecordCorruptError('A row of app_session holds no JSON. It is left for inspection.');
  }
}

@Global()
@Module({
  providers: [
    {
      provide: Pool,
      useFactory: () => {
        const pool = new Pool({
          connectionString: process.env['DATABASE_URL'],
          // Without them, silent connections keep their place in the pool until TCP gives up.
          connectionTimeoutMillis: 4000,
          query_timeout: 4000,
        });
        // The pool replaces a broken idle connection. Without a listener it would end the process.
        pool.on('error', () => new Logger('Database').warn('A connection to PostgreSQL broke.'));
        return pool;
      },
    },
  ],
  exports: [Pool],
})
class DatabaseModule {}

@Module({ imports: [DatabaseModule, SessionModule.forRoot(SqlStore)] })
export class AppModule {}
