import { createHash } from 'node:crypto';
import { enrolScript, leaveScript, membersScript } from './redis-scripts.js';
import { type ScriptRunner } from './script-runner.js';

/** Entries outlive their sessions by this, for the clocks of two servers and the way between them. Milliseconds. */
const MARGIN = 60_000;

/**
 * Which sessions are a user's: a sorted set of store keys per user, scored with the moment at which the entry is of no
 * use any more. Each entry is made before its session and taken away after it, and a session never outlives its entry,
 * so a session is never missing here. An entry may be stale: whoever lists looks at the session itself. Stale entries
 * go when the index is next used after their moment, and the whole index when its last entry is over.
 */
export class UserIndex {
  constructor(
    private readonly scripts: ScriptRunner,
    private readonly prefix: string,
  ) {}

  /** @param lasts milliseconds for which the session may count on its entry */
  async enrol(operation: string, userId: string, key: string, lasts: number): Promise<void> {
    // As lasting as an end: without its entry, ending all sessions of the user would miss one.
    await this.scripts.end(operation, enrolScript, [this.keyOf(userId)], [key, lasts + MARGIN]);
  }

  async members(operation: string, userId: string): Promise<string[]> {
    const [, keys] = await this.scripts.run(operation, membersScript, [this.keyOf(userId)], []);
    return keys as string[];
  }

  /** Never fails: an entry that stays is stale, which harms nobody. */
  async leave(userId: string, keys: readonly string[]): Promise<void> {
    if (keys.length === 0) return;
    await this.scripts.run('delete', leaveScript, [this.keyOf(userId)], keys).catch(() => {});
  }

  /** Hashed, so that no user id, whatever it holds, reaches into another key or decides on the slot. */
  private keyOf(userId: string): string {
    return `${this.prefix}user:{${createHash('sha256').update(userId).digest('hex')}}`;
  }
}
