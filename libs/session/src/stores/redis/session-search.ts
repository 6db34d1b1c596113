import { scanScript } from './redis-scripts.js';
import { type ScriptRunner } from './script-runner.js';

/** How many keys a server looks at in one go, which keeps it from everything else for about a millisecond. */
const AT_A_TIME = 100;

/**
 * The store keys under which a session may be, of all there are: each at which it was met, or from which it has moved.
 * A rotation meanwhile does not hide it, for its old key stays, as a pointer.
 */
export async function* keysOfSession(
  scripts: ScriptRunner,
  prefix: string,
  id: string,
): AsyncGenerator<string> {
  const [before, after] = [`${prefix}{`, '}'];
  const pattern = `${literally(before)}*${after}`;
  for (const run of await scripts.primaries('delete')) {
    let cursor = '0';
    do {
      const [, next, found] = await run(scanScript, [cursor, pattern, AT_A_TIME, JSON.stringify(id)]);
      for (const key of found as string[]) yield key.slice(before.length, -after.length);
      cursor = String(next);
    } while (cursor !== '0');
  }
}

/** Not as a pattern. */
function literally(text: string): string {
  return text.replaceAll(/[\\*?[\]^]/g, '\\$&');
}
