import { execFile } from 'node:child_process';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { transpileLibrary } from './support/transpile.js';

const run = promisify(execFile);

// Inside the project, so that the built library finds its packages.
const built = resolve('dist/test-node-test-kit');

/** What Node's own test runner says of the kit on this store. */
async function kitOn(store: string): Promise<{ output: string; passed: number; failed: string[] }> {
  const kit = run(process.execPath, ['--test-reporter=tap', 'test/node-test-kit/kit.mjs', built, store], {
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  const output = await kit.then(
    ({ stdout }) => stdout,
    (error: { stdout: string }) => error.stdout,
  );
  return {
    output,
    passed: Number(/^# pass (\d+)$/m.exec(output)?.[1]),
    failed: [...output.matchAll(/^ {8}not ok \d+ - (.*)$/gm)].map(([, name]) => name ?? ''),
  };
}

describe('describeSessionStore in node:test', () => {
  beforeAll(() => transpileLibrary(built));

  it('runs every case, and disposes of the store', async () => {
    const { passed, failed, output } = await kitOn('MemoryStore');
    expect(failed).toEqual([]);
    expect(passed).toBeGreaterThan(55);
    expect(output).toMatch(/^.*disposed$/m);
  });

  it('fails where the store is broken', async () => {
    const { failed } = await kitOn('BrokenStore');
    expect(failed).toContain('knows nothing of an id that was never created');
    expect(failed).toContain('brings nothing back after a delete, whatever was in flight');
    expect(failed).not.toContain('gives back what was created');
  });
});
