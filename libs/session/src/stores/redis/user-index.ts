import { createHash } from 'node:crypto';
import { encodeUser } from './redis-value.js';
import { type Reply, type ScriptRunner } from './script-runner.js';
import { UserEpoch } from './user-epoch.js';
import { enrolScript, epochScript, leaveScript, membersScript, revokeScript } from './user-scripts.js';

/** Entries outlive their sessions by this, for the clocks of two servers and the way between them. Milliseconds. */
const MARGIN = 60_000;

/**
 * How long an epoch is kept at least, for the sessions that the index has lost: no browser keeps a cookie longer than 400
 * days. If the index has an entry that lasts longer, so does the epoch. Milliseconds.
 */
const EPOCH_LASTS = 400 * 24 * 60 * 60 * 1000;

/**
 * Which sessions are a user's: a sorted set of store keys per user, scored with the moment at which the entry is of no
 * use any more. Each entry is made before its session and taken away after it, and a session never outlives its entry,
 * so a session is never missing here. An entry may be stale: whoever lists looks at the session itself. Stale entries
 * go when the index is next used after their moment, and the whole index when its last entry is over.
 *
 * And from when on they count: the epoch of the user, so that all of them can be ended also when the index was lost.
 */
export class UserIndex {
  /** What the keys of epochs begin with, for scripts that find out themselves whose they need; '' where none can. */
  readonly epochs: string;

  constructor(
    private readonly scripts: ScriptRunner,
    private readonly prefix: string,
  ) {
    this.epochs = scripts.cluster ? '' : `${prefix}user-epoch:`;
  }

  /**
   * @param lasts milliseconds for which the session may count on its entry
   * @returns when a session is bound to the user that is bound from here on
   */
  async enrol(operation: string, userId: string, key: string, lasts: number): Promise<number> {
    // As lasting as an end: without its entry, ending all sessions of the user would miss one.
    const [, bound] = await this.scripts.end(operation, enrolScript, this.keysOf(userId), [
      key,
      lasts + MARGIN,
    ]);
    return Number(bound);
  }

  async members(operation: string, userId: string): Promise<{ keys: string[]; epoch: UserEpoch }> {
    const reply = await this.scripts.run(operation, membersScript, this.keysOf(userId), []);
    return { keys: reply[1] as string[], epoch: epochOf(reply, 2) };
  }

  async epoch(operation: string, userId: string): Promise<UserEpoch> {
    const [, epochKey = ''] = this.keysOf(userId);
    return epochOf(await this.scripts.run(operation, epochScript, [epochKey], []), 1);
  }

  /** Ends all sessions of the user but some, and tells where those may be that can be deleted. */
  async revoke(operation: string, userId: string, exceptIds: readonly string[]): Promise<string[]> {
    const values = [EPOCH_LASTS, ...exceptIds.map((id) => JSON.stringify(id))];
    const [, keys] = await this.scripts.end(operation, revokeScript, this.keysOf(userId), values);
    return keys as string[];
  }

  /** Never fails: an entry that stays is stale, which harms nobody. Resolves with the epoch, unless it is unknown. */
  async leave(userId: string, keys: readonly string[]): Promise<UserEpoch | undefined> {
    try {
      return epochOf(await this.scripts.run('delete', leaveScript, this.keysOf(userId), keys), 1);
    } catch {
      return undefined;
    }
  }

  /**
   * Hashed, so that no user id, whatever it holds, reaches into another key or decides on the slot. By the one hash that
   * a script can compute. Nobody can find a user id with the hash of a given other; and two that were made to have the
   * same would share an epoch, to the harm of nobody but their maker.
   */
  private keysOf(userId: string): string[] {
    const hash = createHash('sha1').update(encodeUser(userId)).digest('hex');
    return [`${this.prefix}user:{${hash}}`, `${this.prefix}user-epoch:{${hash}}`];
  }
}

function epochOf(reply: Reply, at: number): UserEpoch {
  return UserEpoch.from(reply[at] as string[]);
}
