import { type SessionRecord } from '../session-store.js';
import { arriveScript, departScript, lightenScript, renameScript, reserveScript } from './move-scripts.js';
import { endScript } from './redis-scripts.js';
import { encodeUser, type StoredValue } from './redis-value.js';
import { type Reply, type ScriptRunner } from './script-runner.js';
import { type UserIndex } from './user-index.js';

/** For so long a key that a rotation has left points to the one that took over, for logouts that come late. */
const POINTS_FOR = 60 * 60 * 1000;

/** What a rotation asks for. */
export interface Move {
  key: string;
  newKey: string;
  record: SessionRecord;
  /** The values that save and rename have in common, but for when it was bound. */
  written: readonly (string | number)[];
  indexedFor: number;
}

/**
 * Moves sessions from key to key. On one server that is one script. In a cluster the keys live on different ones, so
 * the new key is reserved first, and the session is alive there from the moment on in which the old key says that it
 * has moved: a single key decides, so that at every moment exactly one of the two opens the session, whoever dies.
 */
export class SessionMove {
  constructor(
    private readonly scripts: ScriptRunner,
    private readonly users: UserIndex,
    private readonly keyOf: (storeKey: string) => string,
    private readonly read: (operation: string, storeKey: string) => Promise<StoredValue | null>,
  ) {}

  async rename(move: Move): Promise<boolean> {
    let { userId } = move.record;
    for (;;) {
      const { newKey, indexedFor } = move;
      const bound = userId === null ? 0 : await this.users.enrol('rename', userId, newKey, indexedFor);
      const [status, otherUser] = await (this.scripts.cluster
        ? this.acrossServers(move, userId, bound)
        : this.onOneServer(move, userId, bound));
      if (status === 2) {
        // Somebody has bound the session to another user since it was loaded.
        userId = JSON.parse(String(otherUser)) as string;
        continue;
      }
      if (userId !== null) await this.users.leave(userId, [status === 1 ? move.key : move.newKey]);
      return status === 1;
    }
  }

  /** Completes a move that was interrupted after its moment of truth. */
  async complete(operation: string, from: string, to: string): Promise<void> {
    const left = await this.read(operation, from);
    if (left?.kind === 'moved' && left.to === to && left.value !== '') {
      await this.arrive(operation, from, to, left.value, left.ttl);
    }
  }

  private onOneServer({ key, newKey, written }: Move, userId: string | null, bound: number): Promise<Reply> {
    const values = [...written, bound, newKey, encodeUser(userId), POINTS_FOR];
    return this.scripts.end('rename', renameScript, [this.keyOf(key), this.keyOf(newKey)], values);
  }

  private async acrossServers(move: Move, userId: string | null, bound: number): Promise<Reply> {
    const { key, newKey, written, indexedFor } = move;
    const [from, to] = [this.keyOf(key), this.keyOf(newKey)];
    // As lasting as the pointer to it: without, a fail-over could leave a session on its way to nowhere.
    const [reserved] = await this.scripts.end('rename', reserveScript, [to], [key, indexedFor]);
    if (reserved === 0) return [0];
    const values = [...written, bound, newKey, encodeUser(userId), POINTS_FOR];
    const departed = await this.scripts.end('rename', departScript, [from], values);
    const [status, value, ttl] = departed;
    if (status !== 1) {
      if (status === 0) await this.scripts.run('rename', endScript, [to], ['', '']);
      return departed;
    }
    return [(await this.arrive('rename', key, newKey, String(value), Number(ttl))) ? 1 : 0];
  }

  private async arrive(
    operation: string,
    from: string,
    to: string,
    value: string,
    ttl: number,
  ): Promise<boolean> {
    const [arrived] = await this.scripts.end(operation, arriveScript, [this.keyOf(to)], [from, value, ttl]);
    // Tidying up only: moved it has.
    await this.scripts.run(operation, lightenScript, [this.keyOf(from)], [to, POINTS_FOR]).catch(() => {});
    return arrived === 1;
  }
}
