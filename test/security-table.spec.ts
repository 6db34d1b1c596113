import { readFileSync } from 'node:fs';

const page = readFileSync('docs/security.md', 'utf8');

/** What the page says to run the tests of one row with, for S13. */
const pattern = /`npm test -- -t '(.*S13.*?)'`/.exec(page)?.[1];

/** The rows of the page: number, promise, and what it is shown by. */
const rows = page
  .split('\n')
  .map((line) => /^\| (S\d+)\s*\| (.+?)\s*\| (.+?)\s*\|$/.exec(line))
  .filter((match) => match !== null)
  .map(([, number, promise, shownBy]) => ({
    number: number as string,
    promise: promise as string,
    shownBy: shownBy as string,
    files: [...(shownBy as string).matchAll(/`((?:test|libs|src)\/[^`]+\.ts)`/g)].map(
      ([, file]) => file ?? '',
    ),
  }));

describe('docs/security.md', () => {
  it('tells how to run the tests of one row', () => {
    expect(pattern).toBeDefined();
  });

  it('has every number once, in order', () => {
    expect(rows.map(({ number }) => number)).toEqual(
      Array.from({ length: 117 }, (_, index) => `S${String(index + 1).padStart(2, '0')}`),
    );
  });

  it.each(rows.map(({ number, ...row }) => [number, row] as const))(
    'shows %s by tests that carry it, or says why not',
    (number, { files, shownBy }) => {
      const carriesIt = new RegExp((pattern ?? '').replace('S13', number));
      const excused = /^(Does not apply|Not yet)[:,] ./.test(shownBy);
      expect(excused || files.length > 0).toBe(true);
      for (const file of excused ? [] : files) {
        const titles = [...readFileSync(file, 'utf8').matchAll(/(['"`])S\d.*?\1/g)].map(([title]) => title);
        expect(titles.filter((title) => carriesIt.test(title))).not.toEqual([]);
      }
    },
  );
});
