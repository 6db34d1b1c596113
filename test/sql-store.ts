import { Global, Injectable, Logger, Module } from '@nestjs/common';
import {
  type SessionChanges,
  SessionError,
  SessionModule,
  type SessionRecord,
  SessionRecordCorruptError,
  SessionStore,
  SessionStoreUnavailableError,
} from 'nest-sessions';
import { DatabaseError, Pool, type QueryResult } from 'pg';

@Injectable()
export class SqlStore extends SessionStore {
  constructor(protected readonly pool: Pool) {
    super();
  }

  async load(key: string): Promise<SessionRecord | null> {
    const { rows } = await this.run(
      'load',
      'SELECT record FROM app_session WHERE key = $1 AND expires_at > $2',
      [key, Date.now()],
    );
    return rows[0] === undefined ? null : decode(rows[0].record);
  }

  async create(key: string, record: SessionRecord): Promise<boolean> {
    const { rowCount } = await this.run(
      'create',
      'INSERT INTO app_session (key, record, version, expires_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING',
      [key, JSON.stringify(record), record.version, record.expiresAt],
    );
    return rowCount === 1;
  }

  async save(key: string, _changes: SessionChanges, record: SessionRecord): Promise<boolean> {
    const version = record.version + 1;
    const { rowCount } = await this.run(
      'save',
      'UPDATE app_session SET record = $2, version = $3, expires_at = $4 WHERE key = $1 AND expires_at > $5',
      [key, JSON.stringify({ ...record, version }), version, record.expiresAt, Date.now()],
    );
    return rowCount === 1;
  }

  async delete(key: string): Promise<boolean> {
    const { rowCount } = await this.run('delete', 'DELETE FROM app_session WHERE key = $1', [key]);
    return rowCount === 1;
  }

  protected run(operation: string, sql: string, values: unknown[]): Promise<QueryResult<{ record: string }>> {
    return reach(operation, this.pool.query(sql, values));
  }
}

/** What the server did not answer itself is a matter of the connection. */
export async function reach<Result>(operation: string, answer: Promise<Result>): Promise<Result> {
  try {
    return await answer;
  } catch (cause) {
    if (cause instanceof DatabaseError || cause instanceof SessionError) throw cause;
    throw new SessionStoreUnavailableError(operation, 'PostgreSQL cannot be reached. Look after it.', {
      cause,
    });
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
        const pool = new Pool({ connectionString: process.env['DATABASE_URL'] });
        // An idle connection that breaks is replaced; without a listener it would end the process.
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
