import { setImmediate } from 'node:timers/promises';
import { SessionRecordCorruptError } from '../../session.errors.js';
import { removeFile, type SessionDirectory, statsOf, systemErrorCode } from './session-directory.js';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
/** What a crash has left between two steps is removed after so long. */
export const LEFTOVER_KEPT = HOUR;
/** How long what cannot be read can be inspected. */
const GARBAGE_KEPT = DAY;
/** Requests wait no longer than this for a walk over many files, in milliseconds. */
const LONGEST_TURN = 5;

/** Files that these errors keep from being cleared are left for another time. A full disk still has others to clear. */
const SKIPPED = ['EACCES', 'EPERM', 'ENOSPC', 'EDQUOT'];

/** Clears expired sessions, and what crashes have left behind, in batches. */
export class Sweep {
  /** The shard at which the last batch was full. */
  private start = '';

  constructor(
    private readonly directory: SessionDirectory,
    /** Ends a session if it has expired. */
    private readonly endExpired: (id: string) => Promise<boolean>,
  ) {}

  /** Ends at most so many expired sessions. Fewer: there are no more. */
  async next(batchSize: number): Promise<number> {
    let count = 0;
    for await (const { shard, path, id } of inTurns(this.directory.sessions(this.start))) {
      if (await this.clear(path, id)) count += 1;
      this.start = shard;
      if (count >= batchSize) return count;
    }
    await this.removeLeftovers();
    return count;
  }

  private async clear(path: string, id: string): Promise<boolean> {
    const stats = statsOf(path);
    // Writers note the deadline in the time stamp. Where one was killed before, the file is opened in vain.
    if (!stats?.isFile() || stats.mtimeMs > Date.now()) return false;
    try {
      return await this.endExpired(id);
    } catch (error) {
      const isCorrupt = error instanceof SessionRecordCorruptError;
      if (!isCorrupt && !SKIPPED.includes(systemErrorCode(error) ?? '')) throw error;
      if (isCorrupt && stats.mtimeMs + GARBAGE_KEPT < Date.now()) this.directory.remove(id);
      return false;
    }
  }

  /** Temporary files live for milliseconds, entries of users as long as their session. */
  private async removeLeftovers(): Promise<void> {
    for (const path of this.directory.temporaries()) removeLeftover(path);
    // Such entries are rare, and do no harm. So the index is looked through once in sixteen days.
    const today = Math.floor(Date.now() / DAY);
    for await (const { path, session } of inTurns(this.directory.userEntries(today % 16))) {
      if (statsOf(session) === undefined) removeLeftover(path);
    }
  }
}

/** Lets requests in every few milliseconds. */
export async function* inTurns<Item>(items: Iterable<Item>): AsyncGenerator<Item> {
  let turn = performance.now();
  for (const item of items) {
    yield item;
    if (performance.now() - turn < LONGEST_TURN) continue;
    await setImmediate();
    turn = performance.now();
  }
}

function removeLeftover(path: string): void {
  const stats = statsOf(path);
  if (!stats?.isFile()) return;
  // A temporary file that has got another name is done with.
  if (stats.nlink > 1 || stats.ctimeMs + LEFTOVER_KEPT < Date.now()) removeFile(path);
}
