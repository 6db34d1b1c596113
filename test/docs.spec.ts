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
