import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { deadLinksOf, pages } from './support/markdown.js';

describe('the pages', () => {
  it.each(pages)('%s links to what is there: files, anchors and sources', (page) => {
    expect(deadLinksOf(page)).toEqual([]);
  });

  it('are held to it: every kind of dead link is found', () => {
    const page = `
# Two clocks & \`one\` [book](engines/README.md)
## Again
## Again
\`\`\`ts
const [a](not/a/link.md)
\`\`\`
\`[code](not-a-link.md)\` [here](#two-clocks--one-book) [second](#again-1) [source](../test/docs.spec.ts)
[page](session.md#expiry) [folder](engines) [web](https://example.com/#nowhere) \`test/docs.spec.ts\`
[own](https://github.com/somebody/nest-sessions/blob/main/docs/session.md#expiry)

[file](gone.md) [anchor](#again-2) [third](session.md#gone) [\`code\`](../src/gone.ts) \`test/gone.spec.ts\`
[own](https://github.com/somebody/nest-sessions/blob/main/docs/session.md#gone)
`;
    expect(deadLinksOf('docs/page.md', page)).toEqual([
      'test/gone.spec.ts',
      'gone.md',
      '#again-2',
      'session.md#gone',
      '../src/gone.ts',
      'https://github.com/somebody/nest-sessions/blob/main/docs/session.md#gone',
    ]);
  });
});

it('README.md is one page that is enough: at most 1,500 words', () => {
  expect(readFileSync('README.md', 'utf8').split(/\s+/).length).toBeLessThanOrEqual(1500);
});

describe('docs/configuration.md', () => {
  const page = readFileSync('docs/configuration.md', 'utf8');

  it('tells of every error, with its code', () => {
    const source = readFileSync('libs/session/src/session.errors.ts', 'utf8');
    const errors = [...source.matchAll(/class (\w+) extends SessionError .*?code = '(\w+)'/gs)];
    expect(errors).not.toEqual([]);
    for (const [, name, code] of errors)
      expect(page).toMatch(new RegExp(`^\\| \`${name}\` +\\| \`${code}\` `, 'm'));
  });

  it('tells of every engine, with its import', () => {
    const { exports } = JSON.parse(readFileSync('libs/session/package.json', 'utf8')) as {
      exports: Record<string, { import?: { default: string } }>;
    };
    const engines = Object.entries(exports).filter(([, target]) =>
      target.import?.default.includes('/stores/'),
    );
    expect(engines).not.toEqual([]);
    for (const [path] of engines) expect(page).toContain(`| \`nest-sessions${path.slice(1)}\` `);
  });
});

/** The functions that run a statement, as text without line breaks. */
function queriesIn(code: string): string[] {
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isArrowFunction(node) && node.parameters[0]?.getText() === 'sql')
      found.push(node.getText().replace(/\s+/g, ' '));
    node.forEachChild(visit);
  };
  visit(ts.createSourceFile('code.ts', code, ts.ScriptTarget.Latest, true));
  return found;
}

describe('docs/engines/sql.md', () => {
  const page = readFileSync('docs/engines/sql.md', 'utf8');
  // Their clients are not installed here, so they are not compiled with the other snippets.
  const snippets = [...page.matchAll(/^```typescript\n(.*?)^```$/gms)].map(([, code = '']) => code);

  it('runs statements as examples/sql-clients does, where the kit runs on it', () => {
    const sources = 'examples/sql-clients/src';
    const tested = readdirSync(sources)
      .filter((file) => file.endsWith('.ts'))
      .flatMap((file) => queriesIn(readFileSync(join(sources, file), 'utf8')));
    expect(tested).toHaveLength(4);
    expect(snippets.flatMap(queriesIn).toSorted()).toEqual(tested.toSorted());
  });
});
