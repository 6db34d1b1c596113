import { readFileSync } from 'node:fs';
import { jest } from '@jest/globals';
import { compile } from './support/compile.js';
import { pages, snippetsOf } from './support/markdown.js';

// The compiler takes its time on a busy machine.
jest.setTimeout(180_000);

const DECLARES = /^declare module|^import 'nest-sessions\//m;

const snippets = pages.flatMap((page) =>
  snippetsOf(readFileSync(page, 'utf8')).map(({ line, code }) => ({
    title: `${page}:${line}`,
    path: `test/${page.replaceAll('/', '-')}.${line}.ts`,
    code,
  })),
);

/** Types, and what the error of the compiler must say when somebody wants them in a session. */
const refused = [
  ['{ value: Date }', 'A session cannot hold a Date. Use date.toISOString() or date.getTime().'],
  ['{ value?: Date | null }', 'A session cannot hold a Date. Use date.toISOString() or date.getTime().'],
  ['{ list: { at: Date }[] }', 'A session cannot hold a Date. Use date.toISOString() or date.getTime().'],
  ['Held<Map<string, number>>', 'A session cannot hold a Map. Use Object.fromEntries(map) or [...map].'],
  ['Held<Set<string>>', 'A session cannot hold a Set. Use [...set].'],
  ['Held<Buffer>', "A session cannot hold binary data. Use Buffer.from(value).toString('base64')."],
  ['Held<Float64Array>', "A session cannot hold binary data. Use Buffer.from(value).toString('base64')."],
  ['Held<() => void>', 'A session cannot hold a function. Store the data that it works on.'],
  ['Held<Account>', 'A session cannot hold a function. Store the data that it works on.'],
  ['Held<URL>', 'A session cannot hold an object with a toJSON method. Use value.toJSON().'],
  ['Held<bigint>', 'A session cannot hold a bigint. Use String(value).'],
  ['Held<symbol>', 'A session cannot hold a symbol. Use a string.'],
  ['Held<undefined[]>', 'A session cannot hold undefined in an array. Use null.'],
  [
    'Held<unknown>',
    'A session cannot hold a value of unknown type. Declare it as JsonValue, or as what it is.',
  ],
] as const;

const declarations = `import { type Session } from 'nest-sessions';
  interface Held<Value> { value: Value }
  declare class Account { name: string; rename(name: string): void }`.replaceAll('\n', ' ');
const refusals = refused.map(([type], index) => `export type T${index} = Session<${type}>;`);

/** What declares session data holds for all files of a program, so these are programs of their own. */
const declaring = snippets.filter(({ code }) => DECLARES.test(code));
const together = snippets.filter(({ code }) => !DECLARES.test(code));

let errors: string[];
beforeAll(() => {
  errors = compile({
    'test/types/undeclared.ts': undefined,
    'test/types/refused.ts': [declarations, ...refusals].join('\n'),
    ...Object.fromEntries(together.map(({ path, code }) => [path, code])),
  });
});

const errorsIn = (file: string): string[] => errors.filter((error) => error.startsWith(`${file}:`));

/** The files hold the expectations: `expectTypeOf` for what must be, `@ts-expect-error` for what must not. */
describe('the published types of a session', () => {
  it('hold while no data are declared, and by type argument', () => {
    expect(errorsIn('test/types/undeclared.ts')).toEqual([]);
  });

  it('hold for declared data, and for request.session on both platforms', () => {
    const files = ['declared', 'express-request', 'fastify-request'];
    expect(compile(Object.fromEntries(files.map((file) => [`test/types/${file}.ts`, undefined])))).toEqual(
      [],
    );
  });

  it('hold for declared data that JSON cannot carry', () => {
    expect(compile({ 'test/types/declared-dates.ts': undefined })).toEqual([]);
  });

  it.each(refused.map(([type, message], index) => [type, message, index] as const))(
    'refuse %s, and say what to store instead',
    (_, message, index) => {
      const found = errorsIn('test/types/refused.ts').filter(
        (error) => error.split(':')[1] === `${index + 2}`,
      );
      expect(found).toEqual([expect.stringContaining(message)]);
    },
  );
});

describe('the snippets of the pages compile with the published types', () => {
  it.each(together)('$title', ({ path }) => {
    expect(errorsIn(path)).toEqual([]);
  });

  it.each(declaring)('$title', ({ path, code }) => {
    expect(compile({ [path]: code })).toEqual([]);
  });
});
