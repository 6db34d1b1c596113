import { type DataSource, type EntityMetadata } from 'typeorm';
import { SessionConfigError } from '../../session.errors.js';
import { type EncryptionOptions } from '../sealing.js';
import { type JsonObject } from '../session-store.js';
import { type DialectName, dialects } from '../sql/dialects.js';
import { sessionColumns, type SessionTable } from '../sql/session-table.js';
import { type ExtraValue, SqlStore } from '../sql/sql-store.js';
import { connectionQuery } from './connection.js';
import { SessionEntity } from './session.entity.js';

/** The options of `DatabaseStore`. Every member may be left out. */
export interface DatabaseStoreOptions {
  /**
   * On PostgreSQL: use named prepared statements. Turn this off behind a pooler that does not support them, such as
   * PgBouncer before 1.21 in transaction mode.
   * @default true
   */
  preparedStatements?: boolean;
  /**
   * Encrypts `session_data`, `session_log` and `session_meta`. All other columns, even your own, stay plain.
   * @default off
   */
  encryption?: EncryptionOptions;
}

/**
 * Keeps sessions in a table of a TypeORM data source: PostgreSQL, MySQL, MariaDB or SQLite.
 *
 * @throws SessionConfigError when the data source does not know the entity or is of a kind the store does not know, or
 * when a secret is weak
 *
 * @example
 * ```ts
 * const store = new DatabaseStore(dataSource, SessionEntity);
 * ```
 */
export class DatabaseStore extends SqlStore {
  constructor(
    dataSource: DataSource,
    entity: typeof SessionEntity = SessionEntity,
    { preparedStatements = true, encryption }: DatabaseStoreOptions = {},
  ) {
    const metadata = metadataOf(dataSource, entity);
    super({
      query: connectionQuery(dataSource, preparedStatements),
      dialect: dialects[dialectOf(dataSource)],
      table: sessionTable(dataSource, metadata),
      extraValues: (data) => extraValues(dataSource, entity, metadata, data),
      encryption,
    });
  }

  override checkTable(): Promise<void> {
    return super.checkTable(
      'Run its migration, CreateNestSession1767225600000 of nest-sessions/database (for an entity of your own, one ' +
        'that calls createSessionTable): npx typeorm migration:run -d dist/data-source.js. In development, ' +
        '"synchronize: true" makes the table.',
    );
  }
}

const dialectNames: Readonly<Record<string, DialectName>> = {
  postgres: 'postgres',
  mysql: 'mysql',
  mariadb: 'mysql',
  sqljs: 'sqlite',
  'better-sqlite3': 'sqlite',
};

function dialectOf({ options }: DataSource): DialectName {
  const name = dialectNames[options.type];
  if (name !== undefined) return name;
  throw new SessionConfigError(
    'engine',
    `needs a data source of type postgres, mysql, mariadb, sqljs or better-sqlite3, not ${options.type}.`,
  );
}

/** @throws SessionConfigError when the data source does not know the entity */
export function metadataOf(dataSource: DataSource, entity: typeof SessionEntity): EntityMetadata {
  if (dataSource.hasMetadata(entity)) return dataSource.getMetadata(entity);
  throw new SessionConfigError(
    'engine',
    `needs the entity ${entity.name}, which its data source does not know. Set ` +
      `"autoLoadEntities: true" or add ${entity.name} to its "entities", and initialize the data source.`,
  );
}

/** As the data source names it: naming strategies, prefixes, schemas and names of subclasses included. */
export function sessionTable({ driver }: DataSource, metadata: EntityMetadata): SessionTable {
  const quoted = sessionColumns.map((property) => [
    property,
    driver.escape(columnOf(metadata, property)?.databaseName ?? property),
  ]);
  return {
    name: pathOf(metadata)
      .map((part) => driver.escape(part))
      .join('.'),
    columns: Object.fromEntries(quoted) as SessionTable['columns'],
    extraColumns: metadata.columns
      .filter(({ propertyName }) => !isOwn(propertyName))
      .map((column) => driver.escape(column.databaseName)),
  };
}

/** Either may have a dot in it. For TypeORM, that of a name without a schema stands between a schema and a name. */
function pathOf({ tablePath, tableName }: EntityMetadata): string[] {
  const schema = tablePath.slice(0, -tableName.length - 1);
  return schema === '' ? tableName.split('.') : [schema, tableName];
}

function columnOf(metadata: EntityMetadata, property: string): EntityMetadata['columns'][number] | undefined {
  return metadata.columns.find(({ propertyName }) => propertyName === property);
}

function isOwn(property: string): boolean {
  return (sessionColumns as readonly string[]).includes(property);
}

/** @throws SessionConfigError when `columnsFrom` returns something that is no column */
function extraValues(
  { driver }: DataSource,
  entity: typeof SessionEntity,
  metadata: EntityMetadata,
  data: JsonObject,
): ExtraValue[] {
  return Object.entries(entity.columnsFrom(data)).map(([property, value]) => {
    const column = columnOf(metadata, property);
    if (column === undefined || isOwn(property)) {
      throw new SessionConfigError(
        'engine',
        `has the entity ${entity.name}, whose columnsFrom() returns "${property}", which is not one of ` +
          'the columns that it adds. Return only property names of its columns.',
      );
    }
    // Transformers, dates, JSON: the value as the driver wants it.
    const bound: unknown = value == null ? null : driver.preparePersistentValue(value, column);
    return [driver.escape(column.databaseName), bound];
  });
}
