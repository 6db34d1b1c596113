import { randomBytes } from 'node:crypto';
import { closeSync, constants, fstatSync, readSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { SessionRecordCorruptError } from '../../session.errors.js';
import { type RecordCodec } from '../record-codec.js';
import {
  encodeEntry,
  encodeFile,
  type FileState,
  type NewEntry,
  type Outcome,
  replay,
  toRecord,
} from './file-format.js';
import { type SessionDirectory, systemErrorCode } from './session-directory.js';

export const READ = constants.O_RDONLY;
export const APPEND = constants.O_RDWR | constants.O_APPEND;

/** After so many milliseconds others replace a file whose sealer has not: it may be dead, or held up. */
const PATIENCE = 1000;
const LONGEST_PAUSE = 32;

const tagPrefix = randomBytes(6).toString('hex');
let tags = 0;

/**
 * A session file, open. It stays the same file when another one takes its name.
 *
 * Everything is synchronous but flushing and waiting: on a local disk each step takes microseconds, less than handing
 * it to a thread would.
 */
export class SessionFile {
  private constructor(
    private readonly directory: SessionDirectory,
    private readonly codec: RecordCodec,
    private readonly id: string,
    readonly fd: number,
    readonly inode: number,
    /** Bytes, as of the last look. */
    private size: number,
  ) {}

  /**
   * Null: there is none.
   * @throws SessionRecordCorruptError when there is something else
   */
  static open(
    directory: SessionDirectory,
    codec: RecordCodec,
    id: string,
    flags: number,
  ): SessionFile | null {
    const fd = openRegular(directory, id, flags);
    if (fd === null) return null;
    const stats = fstatSync(fd);
    if (stats.isFile() && stats.uid === process.geteuid?.()) {
      return new SessionFile(directory, codec, id, fd, stats.ino, stats.size);
    }
    closeSync(fd);
    throw notAFile();
  }

  /** With this line, could the data have more characters than this? */
  mayExceed(size: number, line: string): boolean {
    return this.size + line.length > size;
  }

  /** @throws SessionRecordCorruptError */
  read(): FileState {
    return replay(this.text(), this.id)[0];
  }

  /**
   * Appends an entry, in one write that the operating system puts in order with all others, and finds out what became of
   * it: what precedes it decides.
   * @throws a system error when the disk has no room for all of it; then it has no effect
   */
  append(entry: NewEntry, payload = '', tag = newTag()): { outcome: Outcome; state: FileState } {
    const line = Buffer.from(encodeEntry(entry, tag, payload));
    const written = writeSync(this.fd, line);
    this.size += written;
    if (written < line.length) throw diskFull();
    const [state, outcome] = replay(this.text(), this.id, tag);
    if (outcome === undefined) throw diskFull(); // the file was truncated
    return { outcome, state };
  }

  close(): void {
    closeSync(this.fd);
  }

  /**
   * Puts a file without log in the place of this one, while others write to it:
   *
   * 1. A seal is appended. All entries after it are void; their writers see it and wait for the new file.
   * 2. A temporary file with what this one amounts to at the seal is renamed over it. It is named after the seal.
   * 3. If that does not happen in time, the processes that wait append takeovers, each with a temporary file of its own.
   *    The first one removes the temporary files of those before it, so their renames fail if they still come. How long a
   *    process is held up therefore does not matter.
   *
   * @param text what to put there, made from this state
   * @returns false: `text` is not there, because others have written before the seal, or were faster
   */
  async replace(text: string, { head, entries }: FileState): Promise<boolean> {
    const tag = newTag();
    try {
      // First, because it takes the space: a sealed file on a full disk could not be replaced.
      await this.directory.writeTemporary(tag, text, head.expiresAt);
      const { outcome, state } = this.append({ op: 'seal', at: Date.now() }, '', tag);
      if (outcome !== 'applied') return false;
      const isUpToDate = state.entries === entries + 1;
      if (!isUpToDate) await this.directory.rewriteTemporary(tag, this.folded(state), state.head.expiresAt);
      return (await this.directory.replace(tag, this.id, this.inode)) && isUpToDate;
    } finally {
      this.directory.removeTemporary(tag);
    }
  }

  /** Replaces it by what it amounts to. */
  fold(state: FileState): Promise<boolean> {
    return this.replace(this.folded(state), state);
  }

  /** Waits until a sealed file is replaced, and replaces it when nobody else does. */
  async untilReplaced(): Promise<void> {
    let tag: string | undefined;
    try {
      for (let pause = 1; this.directory.holds(this.id, this.inode); pause *= 2) {
        const state = this.read();
        if (state.seals.length === 0) return;
        const turn = state.seals.findIndex(({ at }) => Math.abs(Date.now() - at) < PATIENCE);
        if (turn === -1) {
          if (tag !== undefined) this.directory.removeTemporary(tag);
          tag = newTag();
          await this.directory.writeTemporary(tag, this.folded(state), state.head.expiresAt);
          this.append({ op: 'takeover', at: Date.now() }, '', tag);
          continue;
        }
        if (tag !== undefined && state.seals[turn]?.tag === tag) {
          for (const earlier of state.seals.slice(0, turn)) this.directory.removeTemporary(earlier.tag);
          if (await this.directory.replace(tag, this.id, this.inode)) return;
        }
        await sleep(Math.min(pause, LONGEST_PAUSE));
      }
    } finally {
      if (tag !== undefined) this.directory.removeTemporary(tag);
    }
  }

  private folded(state: FileState): string {
    return encodeFile(toRecord(state, this.codec), this.codec);
  }

  private text(): string {
    for (;;) {
      // With room for one byte more, so that the end of the file shows.
      const buffer = Buffer.allocUnsafe(this.size + 1);
      const length = readSync(this.fd, buffer, 0, buffer.length, 0);
      if (length < buffer.length) return buffer.toString('utf8', 0, length);
      this.size = fstatSync(this.fd).size;
    }
  }
}

function openRegular(directory: SessionDirectory, id: string, flags: number): number | null {
  try {
    return directory.open(id, flags);
  } catch (error) {
    if (['ELOOP', 'EMLINK', 'EISDIR', 'ENXIO'].includes(systemErrorCode(error) ?? '')) throw notAFile();
    throw error;
  }
}

/** Names an entry, and the temporary file that goes with it. */
export function newTag(): string {
  return `${tagPrefix}${(tags++).toString(36)}`;
}

function notAFile(): SessionRecordCorruptError {
  return new SessionRecordCorruptError(
    'In place of a session file there is something else, such as a symbolic link or a file of another user. ' +
      'It was not followed and is left for inspection.',
  );
}

/** The kernel writes less than it was given when there is no more room, and says why only the next time. */
function diskFull(): Error {
  const error = new Error('ENOSPC: the entry was not written as a whole, write');
  return Object.assign(error, { code: 'ENOSPC', syscall: 'write' });
}
