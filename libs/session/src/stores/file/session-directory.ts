import { createHash, randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fdatasync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { systemErrorCode, unavailable, unless } from './file-errors.js';
import { SessionFile } from './session-file.js';

const STORE_KEY = /^v\d+-[0-9a-f]{64}$/;
const SHARD = /^[0-9a-f]{2}$/;
const TEMPORARY = 'tmp';

const flushFile = promisify(fdatasync);

/**
 * Where session files are: `<directory>/<two hexadecimal digits>/<name>`, and what is not yet one in `<directory>/tmp`.
 *
 * A name stands for the same file until the one process replaces it that has sealed it, or the one removes it that has
 * ended its session.
 */
export class SessionDirectory {
  private readonly identity: string;

  constructor(
    readonly path: string,
    private readonly fsync: boolean,
  ) {
    this.identity = identityOf(path);
  }

  /** A hash, whatever the key: nothing that a visitor sends ends up in a path. */
  nameOf(key: string): string {
    return STORE_KEY.test(key) ? key : `x-${createHash('sha256').update(key).digest('hex')}`;
  }

  /** The store key that has this name; null when it is the name of something else. */
  keyOf(name: string): string | null {
    return STORE_KEY.test(name) ? name : null;
  }

  pathOf(name: string): string {
    const digits = name.indexOf('-') + 1;
    return join(this.path, name.slice(digits, digits + 2), name);
  }

  /** Null: there is none. */
  open(name: string, access: 'read' | 'append' = 'append'): SessionFile | null {
    const file = SessionFile.open(name, this.pathOf(name), access);
    if (file === null) this.demandPresence();
    return file;
  }

  /** Does the name of this file still stand for it? */
  holds(file: SessionFile): boolean {
    return unless(['ENOENT'], () => statSync(this.pathOf(file.name)).ino) === file.inode;
  }

  /** Writes a whole file, for a name that it gets afterwards. */
  async writeTemporary(text: string, deadline: number): Promise<string> {
    const path = join(this.path, TEMPORARY, randomBytes(12).toString('hex'));
    this.makeParent(path);
    closeSync(openSync(path, 'wx', 0o600));
    const file = SessionFile.open(TEMPORARY, path, 'append') as SessionFile;
    try {
      const bytes = Buffer.from(text);
      for (let written = 0; written < bytes.length;) written += writeSync(file.fd, bytes, written);
      file.noteDeadline(deadline);
      if (this.fsync) await flushFile(file.fd);
    } catch (error) {
      this.removeTemporary(path);
      throw error;
    } finally {
      file.close();
    }
    return path;
  }

  /** Gives the temporary file a name that nothing has. False: something has it. */
  async publish(temporary: string, name: string): Promise<boolean> {
    const taken = !this.link(temporary, this.pathOf(name));
    if (!taken) await this.flushNames(name);
    return !taken;
  }

  /** Gives the temporary file a name that is in use. Only for who may: see above. */
  async replace(temporary: string, name: string): Promise<void> {
    renameSync(temporary, this.pathOf(name));
    await this.flushNames(name);
  }

  /**
   * A second name for a file. False: it has lost its own one, to another file or for good.
   * @throws an error when something has the second name
   */
  async addName(file: SessionFile, another: string): Promise<boolean> {
    let isFree: boolean;
    try {
      isFree = this.link(this.pathOf(file.name), this.pathOf(another));
    } catch (error) {
      // Linux says that there is no such file also when another one takes the name in the middle of the call.
      if (systemErrorCode(error) === 'ENOENT' && !this.holds(file)) return false;
      throw error;
    }
    if (!isFree) throw new Error('The session could not be renamed: its new key is taken.');
    await this.flushNames(another);
    return true;
  }

  remove(name: string): void {
    unless(['ENOENT'], () => unlinkSync(this.pathOf(name)));
  }

  removeTemporary(path: string): void {
    unless(['ENOENT'], () => unlinkSync(path));
  }

  async flush(file: SessionFile): Promise<void> {
    if (this.fsync) await flushFile(file.fd);
  }

  shards(): string[] {
    this.demandPresence();
    return readdirSync(this.path)
      .filter((name) => SHARD.test(name))
      .toSorted();
  }

  /** In no particular order. */
  namesIn(shard: string): string[] {
    return unless(['ENOENT', 'ENOTDIR'], () => readdirSync(join(this.path, shard))) ?? [];
  }

  temporaries(): string[] {
    const folder = join(this.path, TEMPORARY);
    return (unless(['ENOENT'], () => readdirSync(folder)) ?? []).map((name) => join(folder, name));
  }

  private link(from: string, to: string): boolean {
    this.makeParent(to);
    try {
      linkSync(from, to);
      return true;
    } catch (error) {
      if (systemErrorCode(error) === 'EEXIST') return false;
      throw error;
    }
  }

  private makeParent(path: string): void {
    const parent = dirname(path);
    if (existsSync(parent)) return;
    this.demandPresence();
    unless(['EEXIST'], () => mkdirSync(parent, 0o700));
  }

  private async flushNames(name: string): Promise<void> {
    if (!this.fsync) return;
    const fd = openSync(dirname(this.pathOf(name)), 'r');
    try {
      await flushFile(fd);
    } finally {
      closeSync(fd);
    }
  }

  /** A disk that was unmounted leaves an empty directory behind, which is not "no session". */
  private demandPresence(): void {
    if (unless(['ENOENT'], () => identityOf(this.path)) === this.identity) return;
    throw unavailable(
      'find its files',
      this.path,
      'the directory is not the one that was there at the start',
    );
  }
}

function identityOf(path: string): string {
  const { dev, ino } = statSync(path);
  return `${dev}:${ino}`;
}
