import { randomBytes } from 'node:crypto';
import { closeSync, constants, fstatSync, futimesSync, openSync, readSync, writeSync } from 'node:fs';
import { notAFile, systemErrorCode } from './file-errors.js';
import { encodeEntry, type Entry } from './file-format.js';
import { addressOf, type FileState, type Outcome, replay } from './file-state.js';

/** An entry as its writer states it; the rest is added while appending. */
export type NewEntry = Entry extends infer Each
  ? Each extends Entry
    ? Omit<Each, 'tag' | 'of'>
    : never
  : never;

// Neither a symbolic link nor a pipe that somebody has planted leads anywhere or holds anybody up.
const READ = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const APPEND = constants.O_RDWR | constants.O_APPEND | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** Later moments do not fit into the time stamps of some file systems. */
const LAST_TIMESTAMP = Date.UTC(2100, 0);

const tagPrefix = randomBytes(6).toString('base64url');
let tags = 0;

/**
 * A session file, open. It stays the same file when another one takes its name.
 *
 * Everything is synchronous: on a local disk each step takes microseconds, less than handing it to a thread would.
 */
export class SessionFile {
  private constructor(
    readonly name: string,
    readonly fd: number,
    readonly inode: number,
  ) {}

  /**
   * Null: there is none.
   * @throws SessionRecordCorruptError when there is something else
   */
  static open(name: string, path: string, access: 'read' | 'append'): SessionFile | null {
    const fd = openRegular(path, access === 'read' ? READ : APPEND);
    if (fd === null) return null;
    const stats = fstatSync(fd);
    if (stats.isFile() && stats.uid === process.geteuid?.()) return new SessionFile(name, fd, stats.ino);
    closeSync(fd);
    throw notAFile();
  }

  /** @throws SessionRecordCorruptError */
  read(): FileState {
    return replay(this.text()).state;
  }

  text(): string {
    const buffer = Buffer.allocUnsafe(fstatSync(this.fd).size);
    let length = 0;
    while (length < buffer.length) {
      const count = readSync(this.fd, buffer, length, buffer.length - length, length);
      if (count === 0) break;
      length += count;
    }
    return buffer.toString('utf8', 0, length);
  }

  /** Appends an entry and finds out what became of it. */
  append(entry: NewEntry, payload = ''): { outcome: Outcome; state: FileState } {
    return this.outcomeOf(this.write(entry, payload));
  }

  /**
   * Appends an entry, in one write that the operating system puts behind everything else.
   * @throws a system error when the disk has no room for all of it; then it has no effect
   */
  write(entry: NewEntry, payload = ''): string {
    const tag = `${tagPrefix}${(tags++).toString(36)}`;
    const text = encodeEntry({ ...entry, tag, of: addressOf(this.name) }, payload.trimEnd());
    const line = Buffer.from(text);
    if (writeSync(this.fd, line) < line.length) throw diskFull();
    return tag;
  }

  /** What became of an entry: what precedes it decides. */
  outcomeOf(tag: string): { outcome: Outcome; state: FileState } {
    const { state, outcome } = replay(this.text(), tag);
    if (outcome === undefined) throw diskFull(); // somebody has cut the file off
    return { outcome, state };
  }

  /** Notes the deadline where clearing finds it without opening the file. A hint: clearing goes by the content. */
  noteDeadline(moment: number): void {
    const seconds = Math.min(moment, LAST_TIMESTAMP) / 1000;
    futimesSync(this.fd, seconds, seconds);
  }

  close(): void {
    closeSync(this.fd);
  }
}

function openRegular(path: string, flags: number): number | null {
  try {
    return openSync(path, flags);
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'ENOENT') return null;
    if (code === 'ELOOP' || code === 'EMLINK' || code === 'EISDIR' || code === 'ENXIO') throw notAFile();
    throw error;
  }
}

/** The kernel writes less than it was given when there is no more room, and says why only the next time. */
function diskFull(): Error {
  const error = new Error('ENOSPC: the entry was not written as a whole, write');
  return Object.assign(error, { code: 'ENOSPC', syscall: 'write' });
}
