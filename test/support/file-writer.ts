import { appendFileSync } from 'node:fs';
import { plainCodec } from '../../libs/session/src/stores/record-codec.js';
import { type SessionRecord } from '../../libs/session/src/stores/session-store.js';
import { FileStore } from '../../libs/session/src/stores/file/file-store.js';
import { SessionDirectory } from '../../libs/session/src/stores/file/session-directory.js';
import { APPEND, SessionFile } from '../../libs/session/src/stores/file/session-file.js';

/**
 * Another process at the files of the tests. It says `ready`, waits to be told to go, says what came of its task, and
 * notes everything that the store has acknowledged in a file, where it stays whatever becomes of the process.
 */
export interface WriterTask {
  directory: string;
  /** Session ids. */
  ids: string[];
  /**
   * `increment` in turn, `rotate` the key hash in turn, `grow` until the limit, `take` all, `create` all for the user Ann,
   * `seal` and die without replacing the files.
   */
  kind: 'increment' | 'rotate' | 'grow' | 'take' | 'create' | 'seal';
  /** How often to write. Default: until it is stopped, or until all sessions have ended. */
  count?: number;
  /** Unique among the processes. */
  name: string;
  acknowledged: string;
}

type Work = (
  task: WriterTask,
  store: FileStore,
  acknowledge: (id: string, n: number) => void,
) => Promise<number>;

const tasks: Record<WriterTask['kind'], Work> = {
  async increment({ ids, count = Infinity, name }, store, acknowledge) {
    let kept = 0;
    for (let n = 0; n < count; n++) {
      const id = ids[n % ids.length] as string;
      const record = await store.load(id);
      if (record === null && count === Infinity && !(await anyLives(store, ids))) break;
      if (record === null) continue;
      const changes = { increment: { n: 1 }, push: { [name]: [n] }, set: { last: 'x'.repeat(100) } };
      if (!(await store.save(id, record.keyHash, changes, record))) continue;
      acknowledge(id, n);
      kept += 1;
    }
    return kept;
  },

  async rotate({ ids, count = Infinity, name }, store, acknowledge) {
    let rotated = 0;
    for (let n = 0; n < count; n++) {
      const id = ids[n % ids.length] as string;
      const record = await store.load(id);
      if (record === null) continue;
      const changes = { keyHash: `${name}-${n}`, increment: { rotations: 1 } };
      if (!(await store.save(id, record.keyHash, changes, record))) continue;
      acknowledge(id, n);
      rotated += 1;
    }
    return rotated;
  },

  async grow({ ids, count = Infinity, name }, store, acknowledge) {
    store.limits = { size: 100_000, keys: 1000 };
    let kept = 0;
    for (let n = 0; n < count; n++) {
      for (const id of ids) {
        const record = (await store.load(id)) as SessionRecord;
        const set = { [`${name}-${n}`]: 'x'.repeat(3000) };
        try {
          await store.save(id, record.keyHash, { set }, record);
          acknowledge(id, n);
          kept += 1;
        } catch (error) {
          if ((error as { code?: unknown }).code !== 'SESSION_LIMIT') throw error;
        }
      }
    }
    return kept;
  },

  async take({ ids }, store, acknowledge) {
    let taken = 0;
    for (const [n, id] of ids.entries()) {
      if ((await store.take(id)) === null) continue;
      acknowledge(id, n);
      taken += 1;
    }
    return taken;
  },

  async create({ ids }, store, acknowledge) {
    const [now, meta] = [Date.now(), {}];
    const moments = { createdAt: now, lastSeenAt: now, expiresAt: now + 3_600_000 };
    for (const [n, id] of ids.entries()) {
      const record = {
        id,
        keyHash: 'hash',
        userId: 'Ann',
        data: {},
        expiry: null,
        ...moments,
        version: 1,
        meta,
      };
      await store.create(id, record);
      acknowledge(id, n);
    }
    return ids.length;
  },

  async seal({ directory, ids }) {
    const sessions = new SessionDirectory(directory, false);
    for (const id of ids) {
      SessionFile.open(sessions, plainCodec, id, APPEND)?.append({ op: 'seal', at: Date.now() });
    }
    return ids.length;
  },
};

async function anyLives(store: FileStore, ids: string[]): Promise<boolean> {
  for (const id of ids) if (await store.load(id)) return true;
  return false;
}

process.once('message', (task: WriterTask) => {
  process.once('message', () => {
    const { directory, acknowledged } = task;
    const acknowledge = (id: string, n: number): void => appendFileSync(acknowledged, `${id} ${n}\n`);
    void tasks[task.kind](task, new FileStore({ directory }), acknowledge).then((result) =>
      process.send?.({ result }, () => process.disconnect()),
    );
  });
  process.send?.('ready');
});
