import { setImmediate } from 'node:timers/promises';
import { type SessionDirectory } from './session-directory.js';

const SESSION_NAME = /^(v\d+|x)-[0-9a-f]{64}$/;
/** Requests wait no longer for a walk than this, in milliseconds. */
const LONGEST_TURN = 5;

/** The names of all sessions, shard by shard, once around from the shard `start` on. Lets others work in between. */
export async function* walk(
  directory: SessionDirectory,
  start = '',
): AsyncGenerator<{ shard: string; name: string }> {
  const shards = directory.shards();
  const before = shards.filter((shard) => shard < start);
  let turn = performance.now();
  for (const shard of [...shards.slice(before.length), ...before]) {
    for (const name of directory.namesIn(shard)) {
      if (SESSION_NAME.test(name)) yield { shard, name };
      if (performance.now() - turn < LONGEST_TURN) continue;
      await setImmediate();
      turn = performance.now();
    }
  }
}
