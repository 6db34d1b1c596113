import { SessionConfigError } from '../../session.errors.js';
import { type DialectName } from './dialects.js';
import {
  type ColumnShape,
  columnShapes,
  indexedColumns,
  indexName,
  sessionSchema,
} from './session-schema.js';
import { columnNames, type SessionColumn, sessionColumns } from './session-table.js';

/** The tools that keep a schema of their own and make migrations from it. */
export type OrmName = 'prisma' | 'drizzle';

/**
 * The session table in the schema language of the tool.
 * @param name of the table, without a schema
 * @throws SessionConfigError when it has a schema, or cannot be the name of a table
 */
export function ormSchema(orm: OrmName, dialect: DialectName, name: string): string {
  sessionSchema(dialect, name); // checks the name
  if (name.includes('.')) {
    throw new SessionConfigError(
      '--table',
      `names a schema, which is written into the models of ${orm} in another place. Leave the schema out, and add it there.`,
    );
  }
  return orm === 'prisma' ? prismaModel(dialect, name) : drizzleTable(dialect, name);
}

/** `session_key` is `sessionKey`, and a table `nest_session` is `nestSession`. */
function camelCase(name: string): string {
  return name.replace(/[_$-]+(\w?)/g, (_, letter: string) => letter.toUpperCase());
}

function pascalCase(name: string): string {
  return camelCase(name).replace(/^\w/, (letter) => letter.toUpperCase());
}

const prismaTypes: Readonly<Record<ColumnShape['type'], string>> = {
  varchar: 'String',
  text: 'String',
  longText: 'String',
  int: 'Int',
  bigint: 'BigInt',
};

function prismaModel(dialect: DialectName, name: string): string {
  const fields = sessionColumns.map((column) => {
    const { type, nullable } = columnShapes[column];
    const field = camelCase(columnNames[column]);
    const attributes = [
      ...(column === 'sessionId' ? ['@id'] : []),
      ...(field === columnNames[column] ? [] : [`@map("${columnNames[column]}")`]),
      ...nativeType(column, dialect),
    ];
    return [`  ${field}`, `${prismaTypes[type]}${nullable ? '?' : ''}`, ...attributes].join(' ');
  });
  const indexes = indexedColumns.map(
    (column) => `  @@index([${camelCase(columnNames[column])}], map: "${indexName(name, column)}")`,
  );
  return [
    '/// The sessions of nest-sessions. Read them as you like; only the sessions write them.',
    `model ${pascalCase(name)} {`,
    ...fields,
    '',
    ...indexes,
    `  @@map("${name}")`,
    '}',
    '',
  ].join('\n');
}

/** Without one, Prisma makes a text of 191 characters on MySQL. SQLite has none. */
function nativeType(column: SessionColumn, dialect: DialectName): string[] {
  const { type, length } = columnShapes[column];
  if (dialect === 'sqlite' || type === 'int' || type === 'bigint') return [];
  if (type === 'varchar') return [`@db.VarChar(${length})`];
  return [dialect === 'mysql' && type === 'longText' ? '@db.MediumText' : '@db.Text'];
}

const drizzleModules: Readonly<Record<DialectName, string>> = {
  postgres: 'pg',
  mysql: 'mysql',
  sqlite: 'sqlite',
};

function drizzleTable(dialect: DialectName, name: string): string {
  const module = drizzleModules[dialect];
  const columns = sessionColumns.map((column) => {
    const { nullable } = columnShapes[column];
    const [builder, options] = drizzleColumn(column, dialect);
    const constraint = column === 'sessionId' ? '.primaryKey()' : nullable ? '' : '.notNull()';
    const values = [`'${columnNames[column]}'`, ...(options === undefined ? [] : [options])];
    return {
      builder,
      line: `    ${camelCase(columnNames[column])}: ${builder}(${values.join(', ')})${constraint},`,
    };
  });
  const imports = new Set([`${module}Table`, 'index', ...columns.map(({ builder }) => builder)]);
  const indexes = indexedColumns.map(
    (column) => `    index('${indexName(name, column)}').on(table.${camelCase(columnNames[column])}),`,
  );
  return [
    `import { ${[...imports].toSorted().join(', ')} } from 'drizzle-orm/${module}-core';`,
    '',
    '/** The sessions of nest-sessions. Read them as you like; only the sessions write them. */',
    `export const ${camelCase(name)} = ${module}Table(`,
    `  '${name}',`,
    '  {',
    ...columns.map(({ line }) => line),
    '  },',
    '  (table) => [',
    ...indexes,
    '  ],',
    ');',
    '',
  ].join('\n');
}

/** The function that makes the column, and its second argument. */
function drizzleColumn(column: SessionColumn, dialect: DialectName): [builder: string, options?: string] {
  const { type, length } = columnShapes[column];
  if (dialect === 'sqlite') return type === 'int' || type === 'bigint' ? ['integer'] : ['text'];
  if (type === 'varchar') return ['varchar', `{ length: ${length} }`];
  if (type === 'bigint') return ['bigint', `{ mode: 'number' }`];
  if (type === 'int') return [dialect === 'mysql' ? 'int' : 'integer'];
  return [dialect === 'mysql' && type === 'longText' ? 'mediumtext' : 'text'];
}
