import { appendFileSync } from 'node:fs';
import { FileStore } from '../../libs/session/src/stores/file/file-store.js';
import { thisProcess } from '../../libs/session/src/stores/file/process-identity.js';
import { SessionDirectory } from '../../libs/session/src/stores/file/session-directory.js';

/**
 * Another process at the files of the tests. It says `ready`, waits to be told to go, says what came of its task, and
 * notes every write that the store has acknowledged in a file, where it stands whatever becomes of the process.
 */
export interface WriterTask {
  directory: string;
  keys: string[];
  /**
   * `increment` in turn, `rotate` from key to key, `follow` that rotation to the last key and increment on the way,
   * `seal` and die without replacing the files.
   */
  kind: 'increment' | 'rotate' | 'follow' | 'seal';
  /** How often to increment. Default: until it is stopped, or until all sessions have ended. */
  count?: number;
  /** Unique among the processes. */
  name: string;
  acknowledged: string;
}

const tasks = {
  async increment({ directory, keys, count = Infinity, name, acknowledged }: WriterTask): Promise<number> {
    const store = new FileStore({ directory });
    let kept = 0;
    for (let n = 0; n < count; n++) {
      const key = keys[n % keys.length] as string;
      const record = await store.load(key);
      if (record === null && count === Infinity && !(await anyLives(store, keys))) break;
      if (record === null) continue;
      const changes = { increment: { n: 1 }, push: { [name]: [n] }, set: { last: 'x'.repeat(100) } };
      if (!(await store.save(key, changes, record))) continue;
      appendFileSync(acknowledged, `${key} ${n}\n`);
      kept += 1;
    }
    return kept;
  },

  async rotate({ directory, keys, acknowledged }: WriterTask): Promise<number> {
    const store = new FileStore({ directory });
    for (const [index, next] of keys.slice(1).entries()) {
      const key = keys[index] as string;
      const record = await store.load(key);
      if (record === null || !(await store.rename(key, next, { increment: { moves: 1 } }, record)))
        return index;
      appendFileSync(acknowledged, `${next} ${index}\n`);
    }
    return keys.length - 1;
  },

  async follow({ directory, keys, name, acknowledged }: WriterTask): Promise<number> {
    const store = new FileStore({ directory });
    let kept = 0;
    for (let [n, index] = [0, 0]; index < keys.length; n++) {
      const key = keys[index] as string;
      const record = await store.load(key);
      // So long that every few of them have the file replaced.
      const changes = { increment: { n: 1 }, push: { [name]: [n] }, set: { last: 'x'.repeat(1000) } };
      if (record === null || !(await store.save(key, changes, record))) {
        index += 1;
        continue;
      }
      appendFileSync(acknowledged, `${key} ${n}\n`);
      kept += 1;
      if (key === keys.at(-1)) break;
    }
    return kept;
  },

  async seal({ directory, keys }: WriterTask): Promise<number> {
    const sessions = new SessionDirectory(directory, false);
    for (const key of keys) sessions.open(key)?.append({ op: 'seal', owner: thisProcess, at: Date.now() });
    return keys.length;
  },
};

async function anyLives(store: FileStore, keys: string[]): Promise<boolean> {
  for (const key of keys) if (await store.exists(key)) return true;
  return false;
}

process.once('message', (task: WriterTask) => {
  process.once('message', () => {
    void tasks[task.kind](task).then((result) => process.send?.({ result }, () => process.disconnect()));
  });
  process.send?.('ready');
});
