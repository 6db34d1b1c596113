import { SessionConfigError } from '../../session.errors.js';
import { type DialectName } from './dialects.js';
import { columnNames, type SessionColumn, sessionColumns, type SessionTable } from './session-table.js';

/** What the table is called unless an application says otherwise. */
export const TABLE_NAME = 'nest_session';

/** What a column is made of, in words that all databases and their tools have an own one for. */
export interface ColumnShape {
  readonly type: 'varchar' | 'text' | 'longText' | 'int' | 'bigint';
  /** Characters, of a varchar. */
  readonly length?: number;
  readonly nullable?: true;
  /** Of what is compared: letters of another case are other letters. */
  readonly exact?: 'ascii' | 'unicode';
}

export const columnShapes: Readonly<Record<SessionColumn, ColumnShape>> = {
  sessionId: { type: 'varchar', length: 40, exact: 'ascii' },
  expireDate: { type: 'bigint' },
  createdAt: { type: 'bigint' },
  lastSeenAt: { type: 'bigint' },
  version: { type: 'int' },
  expireBucket: { type: 'int' },
  keyHash: { type: 'varchar', length: 64, exact: 'ascii' },
  userId: { type: 'varchar', length: 255, nullable: true, exact: 'unicode' },
  expiry: { type: 'varchar', length: 40 },
  sessionMeta: { type: 'text' },
  sessionLog: { type: 'longText' },
  sessionData: { type: 'longText' },
};

/** There is none on `expireDate`, so that a touch rewrites no index. */
export const indexedColumns = ['expireBucket', 'userId'] as const satisfies SessionColumn[];

/**
 * The table as it stands in SQL, with the columns that it has in every database.
 * @param name with its schema, if any
 * @throws SessionConfigError when it cannot be the name of a table
 */
export function sessionTableNamed(name: string, dialect: DialectName): SessionTable {
  const quoted = sessionColumns.map((column) => [column, quote(columnNames[column], dialect)]);
  return {
    name: checkedParts(name)
      .map((part) => quote(part, dialect))
      .join('.'),
    columns: Object.fromEntries(quoted) as SessionTable['columns'],
    extraColumns: [],
  };
}

/** The name without its schema. */
export function bareName(name: string): string {
  return checkedParts(name).at(-1) as string;
}

export function indexName(name: string, column: SessionColumn): string {
  return `${bareName(name)}_${columnNames[column]}_idx`;
}

/** Around the statements of a block; a name with it would end the block. */
const BLOCK_QUOTE = '$nest_sessions$';

/** What could be taken for a placeholder, or needs more than quotes, is refused. */
function checkedParts(name: string): string[] {
  const isName = typeof name === 'string' && /^[A-Za-z_][\w$-]*(\.[A-Za-z_][\w$-]*)?$/.test(name);
  if (isName && !name.includes(BLOCK_QUOTE)) return name.split('.');
  throw new SessionConfigError(
    'table',
    'has to be the name of a table, if need be with its schema in front ("auth.sessions"): letters, digits, "_", "$" ' +
      `and "-", no quotes, and not "${BLOCK_QUOTE}".`,
  );
}

function quote(name: string, dialect: DialectName): string {
  return dialect === 'mysql' ? `\`${name}\`` : `"${name}"`;
}

/**
 * The statements that create the table of the sessions and its indexes, each ended by a semicolon. It is the table that
 * the migration of the database engine makes, and what `npx nest-sessions schema --dialect …` prints.
 *
 * @param name what the table is called, with its schema if it needs one
 * @throws SessionConfigError when it cannot be the name of a table
 *
 * @example
 * ```ts
 * await pool.query(sessionSchema('postgres'));
 * ```
 */
export function sessionSchema(dialect: DialectName, name = TABLE_NAME): string {
  const table = sessionTableNamed(name, dialect);
  const columns = sessionColumns.map((column) => {
    const { nullable } = columnShapes[column];
    const key = column === 'sessionId' ? ' PRIMARY KEY' : '';
    return `  ${table.columns[column]} ${typeOf(column, dialect)} ${nullable ? 'NULL' : 'NOT NULL'}${key}`;
  });
  // SQLite wants the schema in front of the index.
  const [bare, schema] = name.split('.').toReversed();
  const place = dialect === 'sqlite' && schema !== undefined ? `${quote(schema, dialect)}.` : '';
  const target = place === '' ? table.name : quote(String(bare), dialect);
  const indexes = indexedColumns.map(
    (column) =>
      `CREATE INDEX ${place}${quote(indexName(name, column), dialect)} ON ${target} (${table.columns[column]});`,
  );
  const options = dialect === 'postgres' ? ' WITH (autovacuum_vacuum_scale_factor = 0.02)' : '';
  return [
    `CREATE TABLE ${table.name} (\n${columns.join(',\n')}\n)${options};`,
    ...indexes,
    ...(dialect === 'postgres' ? [compression(table)] : []),
    '',
  ].join('\n');
}

/** Of cheap compression, where the server was compiled with it. */
function compression({ name, columns }: SessionTable): string {
  const altered = [columns.sessionData, columns.sessionLog].map(
    (column) => `ALTER COLUMN ${column} SET COMPRESSION lz4`,
  );
  return `DO ${BLOCK_QUOTE} BEGIN
  IF EXISTS (SELECT 1 FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY(enumvals)) THEN
    EXECUTE 'ALTER TABLE ${name} ${altered.join(', ')}';
  END IF;
END ${BLOCK_QUOTE};`;
}

const mysqlCharsets: Readonly<Record<'ascii' | 'unicode', string>> = {
  ascii: ' CHARACTER SET ascii COLLATE ascii_bin',
  unicode: ' CHARACTER SET utf8mb4 COLLATE utf8mb4_bin',
};

function typeOf(column: SessionColumn, dialect: DialectName): string {
  const { type, length, exact } = columnShapes[column];
  if (type === 'int') return dialect === 'mysql' ? 'int' : 'integer';
  if (type === 'bigint') return 'bigint';
  const text = type === 'varchar' ? `varchar(${length})` : 'text';
  if (dialect !== 'mysql')
    return dialect === 'postgres' && column === 'sessionId' ? `${text} COLLATE "C"` : text;
  if (exact) return `${text}${mysqlCharsets[exact]}`;
  if (type === 'varchar') return text;
  return `${type === 'longText' ? 'mediumtext' : 'text'} CHARACTER SET utf8mb4`;
}
