/**
 * Is everything tested, as `npm run test:all` does it? The quick run of `npm test` takes from the large tables only the
 * rows that stand for the others, and repeats less often. What it leaves out is not defined there, so that nothing is
 * listed as skipped.
 */
export const testsAll = process.env['TEST_ALL'] === 'true';

/** The rows of a table. In the quick run only the ones that stand for the others. */
export function rowsOf<Row>(
  table: Readonly<Record<string, Row>>,
  quick: readonly string[],
): [name: string, row: Row][] {
  return Object.entries(table).filter(([name]) => testsAll || quick.includes(name));
}
