import { CreateNestSession1767225600000, SessionEntity } from 'nest-sessions/database';
import { DataSource, DataSourceOptions } from 'typeorm';

/** SQLite for the tests, and what DATABASE_URL names for the rest. */
export const database: DataSourceOptions = process.env.DATABASE_URL
  ? {
      type: 'postgres',
      url: process.env.DATABASE_URL,
      entities: [SessionEntity],
      migrations: [CreateNestSession1767225600000],
    }
  : { type: 'sqljs', entities: [SessionEntity], synchronize: true };

export default new DataSource(database);
