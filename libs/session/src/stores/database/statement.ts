/** SQL with placeholders, and the names of the values they stand for, in order. Built once, run many times. */
export interface Statement {
  readonly text: string;
  readonly parameters: readonly string[];
}

/** Values of a statement, by parameter name. */
export type Values = Readonly<Record<string, unknown>>;

export interface StatementResult {
  rows: Record<string, unknown>[];
  affected: number;
}

/**
 * The seam between the store and the database: everything the store does is one call of this, and one statement.
 * @param operation the store operation, for the error
 */
export type RunStatement = (
  operation: string,
  statement: Statement,
  values: Values,
) => Promise<StatementResult>;

/** A value in a SQL template is its name in these brackets, which occur in no SQL and in nobody's column names. */
const NAMED_VALUE = /⟨([^⟩]+)⟩/g;

/** For `$1`, `$2`, …: a value that is used twice is sent once. */
export function numberedStatement(template: string): Statement {
  const parameters: string[] = [];
  const text = template.replace(NAMED_VALUE, (_, name: string) => {
    if (!parameters.includes(name)) parameters.push(name);
    return `$${parameters.indexOf(name) + 1}`;
  });
  return { text: oneLine(text), parameters };
}

/** For `?`: a value is sent as often as it is used. */
export function positionalStatement(template: string): Statement {
  const parameters = [...template.matchAll(NAMED_VALUE)].map(([, name]) => name as string);
  return { text: oneLine(template.replace(NAMED_VALUE, '?')), parameters };
}

/** Templates are indented for the reader; nobody's name holds a line break. */
function oneLine(text: string): string {
  return text.replace(/\s*\n\s*/g, ' ').trim();
}
