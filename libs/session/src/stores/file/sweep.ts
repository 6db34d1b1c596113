import { lstatSync, type Stats } from 'node:fs';
import { SessionRecordCorruptError } from '../../session.errors.js';
import { systemErrorCode, unless } from './file-errors.js';
import { type SessionDirectory } from './session-directory.js';
import { walk } from './walk.js';

const HOUR = 3_600_000;
/** Long after the last request that knew the old name of a session. */
export const SIGNPOST_KEPT = HOUR;
const ORPHAN_KEPT = HOUR;
/** So long what cannot be read can be inspected. */
const GARBAGE_KEPT = 24 * HOUR;

/** Files that these errors keep from being cleared are left for another time. A full disk still has others to clear. */
const SKIPPED = ['EACCES', 'EPERM', 'ENOSPC', 'EDQUOT'];

/** Clears expired sessions, and what crashes have left behind, in batches. */
export class Sweep {
  /** The shard at which the last batch was full. */
  private cursor = '';

  constructor(
    private readonly directory: SessionDirectory,
    /** Ends a session if it has expired. */
    private readonly endExpired: (name: string) => Promise<boolean>,
  ) {}

  /** Ends at most so many expired sessions. Fewer: there are no more. */
  async next(batchSize: number): Promise<number> {
    let count = 0;
    this.removeOrphans();
    for await (const { shard, name } of walk(this.directory, this.cursor)) {
      if (await this.clear(name)) count += 1;
      this.cursor = shard;
      if (count >= batchSize) return count;
    }
    return count;
  }

  private async clear(name: string): Promise<boolean> {
    const stats = statsOf(this.directory.pathOf(name));
    // Writers note the deadline in the time stamp. Where one was killed before, the file is opened in vain.
    if (!stats?.isFile() || stats.mtimeMs > Date.now()) return false;
    try {
      return this.isExpired(name) && (await this.endExpired(name));
    } catch (error) {
      if (error instanceof SessionRecordCorruptError) this.removeGarbage(name, stats);
      else if (!SKIPPED.includes(systemErrorCode(error) ?? '')) throw error;
      return false;
    }
  }

  private isExpired(name: string): boolean {
    const file = this.directory.open(name);
    if (file === null) return false;
    try {
      const { head, ended } = file.read();
      const isSignpost = head.name !== name;
      if (ended || (isSignpost && head.expiresAt + SIGNPOST_KEPT < Date.now())) this.directory.remove(name);
      if (ended || isSignpost) return false;
      if (head.expiresAt <= Date.now()) return true;
      file.noteDeadline(head.expiresAt);
      return false;
    } finally {
      file.close();
    }
  }

  private removeGarbage(name: string, { mtimeMs }: Stats): void {
    if (mtimeMs + GARBAGE_KEPT < Date.now()) this.directory.remove(name);
  }

  /** Temporary files live for milliseconds; those that have got another name are done with at once. */
  private removeOrphans(): void {
    for (const path of this.directory.temporaries()) {
      const stats = statsOf(path);
      if (stats?.isFile() && (stats.nlink > 1 || stats.ctimeMs + ORPHAN_KEPT < Date.now())) {
        this.directory.removeTemporary(path);
      }
    }
  }
}

function statsOf(path: string): Stats | undefined {
  return unless(['ENOENT'], () => lstatSync(path));
}
