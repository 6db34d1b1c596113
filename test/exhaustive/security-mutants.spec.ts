import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { mutants } from '../support/security-mutants.js';

/** Of each of them; what it takes depends on the machine, and only one that hangs should meet it. */
const TIME_LIMIT = 3_600_000;

const root = process.cwd();
/** The faults are put into a copy. What is tested here is never touched. */
const copy = mkdtempSync(join(tmpdir(), 'security-mutants-'));
const COPIED = [
  'libs',
  'test',
  'src',
  'package.json',
  'tsconfig.json',
  'jest.config.mjs',
  'docs/security.md',
];

const isSource = (path: string): boolean => !['node_modules', 'dist'].includes(basename(path));

beforeAll(() => {
  for (const name of COPIED)
    cpSync(join(root, name), join(copy, name), { recursive: true, filter: isSource });
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
});

afterAll(() => rmSync(copy, { recursive: true, force: true }));

interface Report {
  numPassedTests: number;
  numFailedTests: number;
  /** Spec files that could not even start, which says nothing about their tests. */
  numRuntimeErrorTestSuites: number;
}

/** Runs the tests of these files in the copy whose titles match, in a process of their own. */
async function run(files: readonly string[], titles: string): Promise<Report> {
  const report = join(copy, 'report.json');
  const environment = Object.fromEntries(
    // The quick run, which finds the services for itself.
    Object.entries(process.env).filter(([name]) => !/^(TEST_ALL|JEST_WORKER_ID|NEST_SESSIONS_)/.test(name)),
  );
  const node = ['--experimental-vm-modules', '--disable-warning=ExperimentalWarning'];
  // A test that fails may leave an application open.
  const options = ['--runInBand', '--forceExit', '--reporters=default', '--json', `--outputFile=${report}`];
  const jest = spawn(
    process.execPath,
    [...node, 'node_modules/jest/bin/jest.js', ...options, '-t', titles, '--runTestsByPath', ...files],
    { cwd: copy, env: environment, stdio: 'ignore' },
  );
  await once(jest, 'exit');
  return JSON.parse(readFileSync(report, 'utf8')) as Report;
}

it('has one fault for every row of docs/security.md that tests show', () => {
  const rows = [...readFileSync('docs/security.md', 'utf8').matchAll(/^\| (S\d+)\s*\| .+? \| (.+?)\s*\|$/gm)];
  const shown = rows.filter(([, , by = '']) => by.startsWith('`')).map(([, row]) => row);
  expect(mutants.map(({ row }) => row)).toEqual(shown);
});

/** With databases, with requests, and without: the copy has to be as good as what was copied. */
const CONTROL = ['test/security.spec.ts', 'test/made-up-keys.spec.ts'];

it(
  'sees no fault where there is none',
  async () => {
    const units = mutants.map(({ by }) => by).filter((by) => by.startsWith('libs/'));
    const rows = mutants.map(({ row }) => row).join('|');
    const { numPassedTests, ...faults } = await run([...new Set([...units, ...CONTROL])], `\\b(${rows})\\b`);
    expect(faults).toMatchObject({ numFailedTests: 0, numRuntimeErrorTestSuites: 0 });
    expect(numPassedTests).toBeGreaterThan(mutants.length);
  },
  TIME_LIMIT,
);

it.each(mutants.map((mutant) => [mutant.row, mutant.by, mutant] as const))(
  'the tests of %s in %s see their fault',
  async (row, by, { file, from, to }) => {
    const path = join(copy, file);
    const text = readFileSync(path, 'utf8');
    // A fault that has no place any more would be seen by nobody: give it another one.
    expect([file, text.split(from).length - 1]).toEqual([file, 1]);
    writeFileSync(
      path,
      text.replace(from, () => to),
    );
    try {
      const { numFailedTests, numRuntimeErrorTestSuites } = await run([by], `\\b${row}\\b`);
      expect(numRuntimeErrorTestSuites).toBe(0);
      expect(numFailedTests).toBeGreaterThan(0);
    } finally {
      writeFileSync(path, text);
    }
  },
  TIME_LIMIT,
);
