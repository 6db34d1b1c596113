import { readFileSync } from 'node:fs';

/** The rows of the page: number, promise, and what it is shown by. */
const rows = readFileSync('docs/security.md', 'utf8')
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
  it('has every number once, in order', () => {
    expect(rows.map(({ number }) => number)).toEqual(
      Array.from({ length: 117 }, (_, index) => `S${String(index + 1).padStart(2, '0')}`),
    );
  });

  it.each(rows.map(({ number, ...row }) => [number, row] as const))(
    'shows %s by tests that carry it, or says why not',
    (number, { files, shownBy }) => {
      const excused = /^(Does not apply|Not yet)[:,] ./.test(shownBy);
      expect(excused || files.length > 0).toBe(true);
      for (const file of excused ? [] : files) {
        const titles = [...readFileSync(file, 'utf8').matchAll(/(['"`])S\d.*?\1/g)].map(([title]) => title);
        expect(titles.filter((title) => new RegExp(`\\b${number}\\b`).test(title))).not.toEqual([]);
      }
    },
  );
});
