import { type DataSource, type MigrationInterface, type QueryRunner, Table } from 'typeorm';
import { metadataOf, sessionTable } from './database-store.js';
import { SessionEntity } from './session.entity.js';

/**
 * Creates the session table as `SessionEntity` describes it. Add it to the migrations of the data source, and
 * `SessionEntity` to the entities that it runs with.
 *
 * @example
 * ```ts
 * new DataSource({ …, entities: [SessionEntity], migrations: [CreateNestSession1767225600000] })
 * ```
 */
export class CreateNestSession1767225600000 implements MigrationInterface {
  /** The name that TypeORM notes in its table of migrations. */
  readonly name = 'CreateNestSession1767225600000';

  /** Creates the table. TypeORM calls it. */
  up(queryRunner: QueryRunner): Promise<void> {
    return createSessionTable(queryRunner);
  }

  /** Drops the table, and all sessions with it. TypeORM calls it. */
  down(queryRunner: QueryRunner): Promise<void> {
    return dropSessionTable(queryRunner);
  }
}

/**
 * For a migration of your own: the table of a subclass of `SessionEntity`, with its name, its columns and what the
 * database can do for them.
 * @throws SessionConfigError when the data source of the migration does not know the entity
 *
 * @example
 * ```ts
 * up(queryRunner: QueryRunner) {
 *   return createSessionTable(queryRunner, AppSession);
 * }
 * ```
 */
export async function createSessionTable(queryRunner: QueryRunner, entity = SessionEntity): Promise<void> {
  await queryRunner.createTable(tableOf(queryRunner, entity));
  if (dataSourceOf(queryRunner).options.type === 'postgres') await tunePostgres(queryRunner, entity);
}

/**
 * Undoes `createSessionTable`, for the `down` of a migration of your own.
 * @throws SessionConfigError when the data source of the migration does not know the entity
 *
 * @example
 * ```ts
 * down(queryRunner: QueryRunner) {
 *   return dropSessionTable(queryRunner, AppSession);
 * }
 * ```
 */
export async function dropSessionTable(queryRunner: QueryRunner, entity = SessionEntity): Promise<void> {
  await queryRunner.dropTable(tableOf(queryRunner, entity));
}

function tableOf(queryRunner: QueryRunner, entity: typeof SessionEntity): Table {
  const dataSource = dataSourceOf(queryRunner);
  const metadata = metadataOf(dataSource, entity);
  const table = Table.create(metadata, dataSource.driver);
  // TypeORM joins schema and name, and then takes the schema from before the first dot, which may be one of its own.
  table.name = metadata.tableName;
  return table;
}

/** Under the name that TypeORM 0.3 and 1 both know. */
function dataSourceOf({ connection }: QueryRunner): DataSource {
  return connection;
}

/** Dead rows collected early, and cheap compression. */
async function tunePostgres(queryRunner: QueryRunner, entity: typeof SessionEntity): Promise<void> {
  const dataSource = dataSourceOf(queryRunner);
  const { name, columns } = sessionTable(dataSource, metadataOf(dataSource, entity));
  await queryRunner.query(`ALTER TABLE ${name} SET (autovacuum_vacuum_scale_factor = 0.02)`);
  if (!(await hasLz4(queryRunner))) return;
  for (const column of [columns.sessionData, columns.sessionLog]) {
    await queryRunner.query(`ALTER TABLE ${name} ALTER COLUMN ${column} SET COMPRESSION lz4`);
  }
}

/** From PostgreSQL 14, and only where it was compiled in. Asked for, because trying would end the transaction. */
async function hasLz4(queryRunner: QueryRunner): Promise<boolean> {
  const found: unknown = await queryRunner.query(
    `SELECT 1 FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY(enumvals)`,
  );
  return Array.isArray(found) && found.length > 0;
}
