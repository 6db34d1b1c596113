import { accessSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { compile } from './support/compile.js';

const pages = [
  'README.md',
  ...readdirSync('docs', { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.md'))
    .map((path) => join('docs', path)),
];

/** Where the page's imports resolve like those of an application. */
const pathOf = (page: string, number: number): string => `test/${page.replaceAll('/', '-')}.${number}.ts`;

const snippetsOf = (page: string): [number: number, code: string][] =>
  [...readFileSync(page, 'utf8').matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code = ''], index) => [
    index + 1,
    code,
  ]);

/** What they declare holds in all of their program. */
const declares = (code: string): boolean => /^\s*declare /m.test(code);

/** What the compiler says of all snippets that declare nothing: one program is made as fast as any. */
let complaints: string[] | undefined;
const complaintsOfMost = (): string[] =>
  (complaints ??= compile(
    Object.fromEntries(
      pages.flatMap((page) =>
        snippetsOf(page)
          .filter(([, code]) => !declares(code))
          .map(([number, code]) => [pathOf(page, number), code]),
      ),
    ),
  ));

describe.each(pages)('%s', (page) => {
  const text = readFileSync(page, 'utf8');
  const snippets = snippetsOf(page);

  // Jest takes no empty table.
  if (snippets.length > 0)
    it.each(snippets)('snippet %d compiles', (number, code) => {
      const path = pathOf(page, number);
      const found = declares(code)
        ? compile({ [path]: code })
        : complaintsOfMost().filter((line) => line.startsWith(`${path}:`));
      expect(found).toEqual([]);
    });

  it('links to what is there', () => {
    const targets = [...text.matchAll(/\]\((?!https?:)([^)#]+)[^)]*\)/g)].map(([, target]) => target ?? '');
    for (const target of targets)
      expect(() => accessSync(normalize(join(dirname(page), target)))).not.toThrow();
  });
});
