import { hash } from 'node:crypto';
import {
  closeSync,
  constants,
  fdatasync,
  futimesSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  type Stats,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { SessionStoreUnavailableError } from '../../session.errors.js';

/**
 * What is where in the directory of a store:
 *
 * - `<2 hex digits>/<session>`: the session files. A name stands for the same file until a process that has sealed the
 *   file replaces it, or one that has ended the session removes it.
 * - `users/<3 hex digits>/<user>-<session>`: an empty file for each session of a user, made before the session file.
 *   It means nothing while there is no such session.
 * - `tmp`: files that have not got their name yet.
 */
const TEMPORARY = 'tmp';
const USERS = 'users';
const SHARD = /^[0-9a-f]{2}$/;
const USER_SHARD = /^[0-9a-f]{3}$/;
const SESSION_ID = /^[A-Za-z0-9_-]{22}$/;
/** 22 characters of 6 bits make 33 digits of 4. */
const SESSION_NAME = /^[0-9a-f]{33}$/;
const USER_ENTRY = /^[0-9a-f]{32}-[0-9a-f]{33}$/;

/** Later moments do not fit into the time stamps of some file systems. */
const LAST_TIMESTAMP = Date.UTC(2100, 0);

const flushFile = promisify(fdatasync);

interface SessionEntry {
  shard: string;
  path: string;
  id: string;
}

export class SessionDirectory {
  private readonly identity: string;

  constructor(
    readonly path: string,
    private readonly fsync: boolean,
  ) {
    this.identity = identityOf(path);
  }

  /** Opens the file of a session. Null: there is none. */
  open(id: string, flags: number): number | null {
    if (!SESSION_ID.test(id)) return null;
    const path = this.pathTo(nameOf(id));
    if (this.isFolder(dirname(path))) {
      // A symbolic link is not followed, and a pipe holds nobody up.
      const safe = flags | constants.O_NOFOLLOW | constants.O_NONBLOCK;
      const fd = unless('ENOENT', () => openSync(path, safe));
      if (fd !== undefined) return fd;
    }
    this.demandPresence();
    return null;
  }

  /** Does the name of this session still stand for this file? */
  holds(id: string, inode: number): boolean {
    return statsOf(this.pathTo(nameOf(id)))?.ino === inode;
  }

  /** Writes a whole file, for a name that it gets afterwards. */
  async writeTemporary(tag: string, text: string, deadline: number): Promise<void> {
    const path = this.temporary(tag);
    await this.makeFolder(dirname(path));
    await this.write(openSync(path, 'wx', 0o600), text, deadline);
  }

  /** Writes it once more, unless another process has removed it. */
  async rewriteTemporary(tag: string, text: string, deadline: number): Promise<void> {
    const flags = constants.O_WRONLY | constants.O_TRUNC | constants.O_NOFOLLOW;
    const fd = unless('ENOENT', () => openSync(this.temporary(tag), flags));
    if (fd !== undefined) await this.write(fd, text, deadline);
  }

  /** Gives the temporary file a name that nothing has. False: something has it. */
  async publish(tag: string, id: string): Promise<boolean> {
    const path = this.pathTo(nameOf(id));
    await this.makeFolder(dirname(path));
    const isFree = succeeds(() => linkSync(this.temporary(tag), path), 'EEXIST');
    if (isFree) await this.flushNameOf(path);
    return isFree;
  }

  /** Puts the temporary file in the place of this file. False: one of them has lost its name. */
  async replace(tag: string, id: string, inode: number): Promise<boolean> {
    const path = this.pathTo(nameOf(id));
    const isDone = this.holds(id, inode) && succeeds(() => renameSync(this.temporary(tag), path), 'ENOENT');
    if (isDone) await this.flushNameOf(path);
    return isDone;
  }

  remove(id: string): void {
    removeFile(this.pathTo(nameOf(id)));
  }

  removeTemporary(tag: string): void {
    removeFile(this.temporary(tag));
  }

  async addUserEntry(userId: string, id: string): Promise<void> {
    const path = this.userEntry(userId, id);
    await this.makeFolder(dirname(path));
    if (statsOf(path)) return;
    closeSync(openSync(path, constants.O_CREAT | constants.O_WRONLY | constants.O_NOFOLLOW, 0o600));
    await this.flushNameOf(path);
  }

  removeUserEntry(userId: string, id: string): void {
    removeFile(this.userEntry(userId, id));
  }

  /** The ids of all sessions that a user may have. */
  sessionsOf(userId: string): string[] {
    const user = userName(userId);
    const entries = this.namesIn(USERS, user.slice(0, 3)).filter((name) => name.startsWith(user));
    if (entries.length === 0) this.demandPresence();
    return entries.map((name) => idOf(name.slice(33)));
  }

  /** A sixteenth of the entries of all users, each with the file of its session. */
  *userEntries(sixteenth: number): Generator<{ path: string; session: string }> {
    const digit = sixteenth.toString(16);
    for (const shard of this.namesIn(USERS)) {
      if (!shard.startsWith(digit) || !USER_SHARD.test(shard)) continue;
      for (const name of this.namesIn(USERS, shard)) {
        const session = this.pathTo(name.slice(33));
        if (USER_ENTRY.test(name)) yield { path: join(this.path, USERS, shard, name), session };
      }
    }
  }

  /** All sessions, shard by shard, once around from the shard `start` on. */
  *sessions(start: string): Generator<SessionEntry> {
    const shards = this.shards();
    const before = shards.filter((shard) => shard < start);
    for (const shard of [...shards.slice(before.length), ...before]) yield* this.sessionsIn(shard);
  }

  /** All sessions after this one, in the order of their names; null: from the first on. */
  *sessionsAfter(id: string | null): Generator<SessionEntry> {
    const shards = this.shards();
    if (id !== null && !SESSION_ID.test(id)) return;
    const after = id === null ? '' : nameOf(id);
    for (const shard of shards) if (shard >= after.slice(0, 2)) yield* this.sessionsIn(shard, after);
  }

  temporaries(): string[] {
    return this.namesIn(TEMPORARY).map((name) => join(this.path, TEMPORARY, name));
  }

  /** With `fsync`: returns when the file is on the disk itself. */
  async flush(fd: number): Promise<void> {
    if (this.fsync) await flushFile(fd);
  }

  private shards(): string[] {
    this.demandPresence();
    return this.namesIn('.')
      .filter((name) => SHARD.test(name))
      .toSorted();
  }

  private *sessionsIn(shard: string, after = ''): Generator<SessionEntry> {
    for (const name of this.namesIn(shard).toSorted()) {
      if (SESSION_NAME.test(name) && name > after) yield { shard, path: this.pathTo(name), id: idOf(name) };
    }
  }

  private pathTo(name: string): string {
    return join(this.path, name.slice(0, 2), name);
  }

  private temporary(tag: string): string {
    return join(this.path, TEMPORARY, tag);
  }

  private userEntry(userId: string, id: string): string {
    const user = userName(userId);
    return join(this.path, USERS, user.slice(0, 3), `${user}-${nameOf(id)}`);
  }

  private namesIn(...folder: string[]): string[] {
    const path = join(this.path, ...folder);
    return this.isFolder(path) ? (unless('ENOENT', () => readdirSync(path)) ?? []) : [];
  }

  private async write(fd: number, text: string, deadline: number): Promise<void> {
    try {
      const bytes = Buffer.from(text);
      for (let written = 0; written < bytes.length;) written += writeSync(fd, bytes, written);
      noteDeadline(fd, deadline);
      await this.flush(fd);
    } finally {
      closeSync(fd);
    }
  }

  /** @throws SessionStoreUnavailableError when it is there, but not ours */
  private isFolder(path: string): boolean {
    const parent = dirname(path);
    if (parent.length > this.path.length && !this.isFolder(parent)) return false;
    const stats = statsOf(path);
    if (stats === undefined) return false;
    if (stats.isDirectory() && stats.uid === process.geteuid?.()) return true;
    throw unavailable('use its files', this.path, `"${basename(path)}" in it is no directory of this user`);
  }

  private async makeFolder(path: string): Promise<void> {
    if (this.isFolder(path)) return;
    if (dirname(path) === this.path) this.demandPresence();
    else await this.makeFolder(dirname(path));
    if (succeeds(() => mkdirSync(path, 0o700), 'EEXIST')) await this.flushNameOf(path);
  }

  private async flushNameOf(path: string): Promise<void> {
    if (!this.fsync) return;
    const fd = openSync(dirname(path), 'r');
    try {
      await flushFile(fd);
    } finally {
      closeSync(fd);
    }
  }

  /** A disk that was unmounted leaves an empty directory behind, which is not "no session". */
  private demandPresence(): void {
    if (unless('ENOENT', () => identityOf(this.path)) === this.identity) return;
    throw unavailable('find its files', this.path, 'the directory is not the one that was there at first');
  }
}

/** Notes the deadline where clearing finds it without opening the file. A hint: clearing goes by the content. */
export function noteDeadline(fd: number, moment: number): void {
  const seconds = Math.min(moment, LAST_TIMESTAMP) / 1000;
  futimesSync(fd, seconds, seconds);
}

/** The folders of a store that are in its directory, each before those that are in it. */
export function* foldersIn(path: string): Generator<string> {
  for (const name of readdirSync(path)) {
    if (name === TEMPORARY || name === USERS || SHARD.test(name)) yield name;
    if (name !== USERS) continue;
    for (const shard of readdirSync(join(path, USERS))) if (USER_SHARD.test(shard)) yield join(USERS, shard);
  }
}

export function statsOf(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false });
}

export function removeFile(path: string): void {
  succeeds(() => unlinkSync(path), 'ENOENT');
}

/** Hexadecimal, because some file systems do not tell `a` from `A`. Nothing else gets into a path. */
function nameOf(id: string): string {
  if (!SESSION_ID.test(id)) throw new Error('A session id is 22 characters of base64url.');
  return Buffer.from(`${id}AA`, 'base64url').toString('hex').slice(0, 33);
}

function idOf(name: string): string {
  return Buffer.from(`${name}000`, 'hex').toString('base64url').slice(0, 22);
}

/** Whose a session is, its file says. */
function userName(userId: string): string {
  return hash('sha256', userId, 'hex').slice(0, 32);
}

function identityOf(path: string): string {
  const { dev, ino } = statSync(path);
  return `${dev}:${ino}`;
}

/** The code of an error of the operating system (`ENOENT`, …), else undefined. */
export function systemErrorCode(error: unknown): string | undefined {
  // By its look, because errors of Node's own modules are not `instanceof Error` where code runs in a realm of its own.
  if (typeof error !== 'object' || error === null || !('syscall' in error)) return undefined;
  return (error as NodeJS.ErrnoException).code;
}

/** Runs `work`; undefined when it fails with this code. */
function unless<Result>(code: string, work: () => Result): Result | undefined {
  try {
    return work();
  } catch (error) {
    if (systemErrorCode(error) === code) return undefined;
    throw error;
  }
}

/** Runs `work`; false when it fails with this code. */
function succeeds(work: () => void, code: string): boolean {
  return unless(code, () => (work(), true)) ?? false;
}

/** What the store throws for an error of the operating system. Node's own message names the file, and so a session. */
export function toStoreError(operation: string, directory: string, error: unknown): unknown {
  const code = systemErrorCode(error);
  if (code === undefined) return error;
  const reason = reasonOf(error);
  return unavailable(operation, directory, reason, Object.assign(new Error(reason), { code }));
}

function unavailable(
  operation: string,
  directory: string,
  reason: string,
  cause?: Error,
): SessionStoreUnavailableError {
  return new SessionStoreUnavailableError(
    operation,
    `${reason}. Check the directory "${directory}" and its disk: it must exist, be writable, and not be full.`,
    cause && { cause },
  );
}

/** The message of an error of the operating system, without the path. */
export function reasonOf(error: unknown): string {
  return (error as Error).message.replace(/,.*$/s, '');
}
