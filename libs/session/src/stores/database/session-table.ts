import { type DataSource, type EntityMetadata } from 'typeorm';
import { SessionConfigError } from '../../session.errors.js';

/** Properties of `SessionEntity` itself, as against those that a subclass adds. */
const sessionColumns = [
  'sessionKey',
  'formerKey',
  'sessionData',
  'sessionLog',
  'sessionMeta',
  'version',
  'expireDate',
  'expireBucket',
  'sessionId',
  'userId',
  'expiry',
  'createdAt',
  'lastSeenAt',
] as const;

export type SessionColumn = (typeof sessionColumns)[number];

type ColumnMetadata = EntityMetadata['columns'][number];

/** The table as the data source names it: naming strategies, prefixes, schemas and names of subclasses included. */
export interface SessionTable {
  /** Quoted, with its schema. */
  readonly name: string;
  /** For messages. */
  readonly path: string;
  /** Quoted names of the columns that every session table has. */
  readonly columns: Readonly<Record<SessionColumn, string>>;
  /** What a subclass of the entity adds, by property name. */
  readonly extraColumns: ReadonlyMap<string, ExtraColumn>;
}

export interface ExtraColumn {
  readonly name: string;
  /** The value as the driver wants it: transformers, dates, JSON. */
  toDatabase(value: unknown): unknown;
}

/** `SessionEntity` or a subclass of it. */
type EntityClass = new () => object;

/** @throws SessionConfigError when the data source does not know the entity */
export function metadataOf(dataSource: DataSource, entity: EntityClass): EntityMetadata {
  if (dataSource.hasMetadata(entity)) return dataSource.getMetadata(entity);
  throw new SessionConfigError(
    'engine',
    `needs the entity ${entity.name} in its data source, which does not know it. Set ` +
      `"autoLoadEntities: true" or add ${entity.name} to its "entities", and have it initialized.`,
  );
}

/** @throws SessionConfigError when the data source does not know the entity */
export function sessionTable(dataSource: DataSource, entity: EntityClass): SessionTable {
  const { tablePath, columns } = metadataOf(dataSource, entity);
  const { driver } = dataSource;
  const quoted = (column: ColumnMetadata): string => driver.escape(column.databaseName);
  const own = columns.filter(({ propertyName }) =>
    (sessionColumns as readonly string[]).includes(propertyName),
  );
  const extra = columns.filter((column) => !own.includes(column));
  return {
    name: tablePath
      .split('.')
      .map((part) => driver.escape(part))
      .join('.'),
    path: tablePath,
    columns: Object.fromEntries(
      own.map((column) => [column.propertyName, quoted(column)]),
    ) as SessionTable['columns'],
    extraColumns: new Map(
      extra.map((column) => [
        column.propertyName,
        {
          name: quoted(column),
          toDatabase: (value) => (value == null ? null : driver.preparePersistentValue(value, column)),
        },
      ]),
    ),
  };
}
