import { type DataSource, type MigrationInterface, type QueryRunner, Table } from 'typeorm';
import { SessionEntity } from './session.entity.js';
import { metadataOf, sessionTable } from './session-table.js';

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
  readonly name = 'CreateNestSession1767225600000';

  up(queryRunner: QueryRunner): Promise<void> {
    return createSessionTable(queryRunner);
  }

  down(queryRunner: QueryRunner): Promise<void> {
    return dropSessionTable(queryRunner);
  }
}

/**
 * For a migration of your own: the table of a subclass of `SessionEntity`, with its name, its columns and what the
 * database can do for them.
 * @throws SessionConfigError when the data source of the migration does not know the entity
 */
export async function createSessionTable(queryRunner: QueryRunner, entity = SessionEntity): Promise<void> {
  const table = tableOf(queryRunner, entity);
  await queryRunner.createTable(table);
  if (dataSourceOf(queryRunner).options.type === 'postgres') await tunePostgres(queryRunner, entity);
}

export async function dropSessionTable(queryRunner: QueryRunner, entity = SessionEntity): Promise<void> {
  await queryRunner.dropTable(tableOf(queryRunner, entity));
}

function tableOf(queryRunner: QueryRunner, entity: typeof SessionEntity): Table {
  const dataSource = dataSourceOf(queryRunner);
  return Table.create(metadataOf(dataSource, entity), dataSource.driver);
}

/** Under the name that TypeORM 0.3 and 1 both know. */
function dataSourceOf({ connection }: QueryRunner): DataSource {
  return connection;
}

/** Room for a touch to rewrite its row within the page, dead rows collected early, and cheap compression. */
async function tunePostgres(queryRunner: QueryRunner, entity: typeof SessionEntity): Promise<void> {
  const { name, columns } = sessionTable(dataSourceOf(queryRunner), entity);
  await queryRunner.query(`ALTER TABLE ${name} SET (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02)`);
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
