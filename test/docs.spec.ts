import { accessSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { compile } from './support/compile.js';

const pages = [
  'README.md',
  ...readdirSync('docs', { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.md'))
    .map((path) => join('docs', path)),
];

describe.each(pages)('%s', (page) => {
  const text = readFileSync(page, 'utf8');
  const snippets = [...text.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code]) => code ?? '');

  // Jest takes no empty table.
  if (snippets.length > 0)
    it.each(snippets.map((code, index) => [index + 1, code] as const))(
      'snippet %d compiles',
      (number, code) => {
        // Where the page's imports resolve like those of an application. One program each, for some declare session data.
        expect(compile({ [`test/${page.replaceAll('/', '-')}.${number}.ts`]: code })).toEqual([]);
      },
    );

  it('links to what is there', () => {
    const targets = [...text.matchAll(/\]\((?!https?:)([^)#]+)[^)]*\)/g)].map(([, target]) => target ?? '');
    for (const target of targets)
      expect(() => accessSync(normalize(join(dirname(page), target)))).not.toThrow();
  });
});
