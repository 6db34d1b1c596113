import { randomBytes } from 'node:crypto';
import { linkSync, lstatSync, realpathSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SessionConfigError } from '../../session.errors.js';
import { foldersIn, reasonOf, systemErrorCode } from './session-directory.js';

/** Linux's magic numbers of file systems that appends of several machines, or the death of one, can corrupt. */
const NETWORK_FILE_SYSTEMS = new Map([
  [0x6969, 'NFS'],
  [0x517b, 'SMB'],
  [0xff534d42, 'CIFS'],
  [0xfe534d42, 'SMB2'],
  [0x00c36400, 'Ceph'],
  [0x01021997, '9P'],
]);

/** Writing for the group, and anything for those who are neither the owner nor of the group. */
const RIGHTS_OF_OTHERS = 0o027;
const WRITING_BY_OTHERS = 0o022;

/** @throws SessionConfigError when no directory is named */
export function checkGiven({ directory }: { directory?: unknown }): void {
  if (typeof directory === 'string' && directory !== '') return;
  throw problem('is missing. Name the directory for the session files.');
}

/**
 * The real path of a directory that may hold sessions.
 * @throws SessionConfigError when it may not
 */
export function checkDirectory(directory: string): string {
  checkGiven({ directory });
  if (process.platform === 'win32') {
    throw problem(
      'needs Linux, macOS or another Unix: Windows cannot replace files that are open. Use another engine.',
    );
  }
  const quoted = JSON.stringify(directory);
  try {
    const path = realpathSync(directory);
    checkFolder(path, `is ${quoted}`, RIGHTS_OF_OTHERS);
    const network = NETWORK_FILE_SYSTEMS.get(statfsSync(path).type);
    if (network !== undefined) {
      throw problem(
        `is ${quoted}, on a network file system (${network}), where sessions could be lost. Use a local disk.`,
      );
    }
    // What was planted while the directory was open to others would lead elsewhere, or could be exchanged.
    for (const folder of foldersIn(path)) {
      checkFolder(join(path, folder), `is ${quoted}, in which there is "${folder}"`, WRITING_BY_OTHERS);
    }
    tryOut(path, quoted);
    return path;
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === undefined) throw error;
    if (code !== 'ENOENT' && code !== 'ENOTDIR') {
      throw problem(`is ${quoted}, which cannot be read (${reasonOf(error)}).`, error);
    }
    throw problem(
      `is ${quoted}, which does not exist. Create it first: mkdir -m 700, as the user of the application.`,
      error,
    );
  }
}

function checkFolder(path: string, what: string, forbidden: number): void {
  const stats = lstatSync(path);
  const { mode, uid } = stats;
  if (stats.isSymbolicLink()) throw problem(`${what}, which is a symbolic link. Remove it.`);
  if (!stats.isDirectory()) throw problem(`${what}, which is not a directory.`);
  if (uid !== process.geteuid?.()) {
    throw problem(
      `${what}, which belongs to another user (${uid}), who could swap its files. Use a directory of your own.`,
    );
  }
  if ((mode & forbidden) !== 0) {
    const rights = (mode & 0o777).toString(8);
    throw problem(`${what}, which is not closed to others (mode ${rights}). Run chmod 700 on it.`);
  }
}

/** Only a try shows what permissions, read-only mounts and file systems without hard links allow. */
function tryOut(path: string, quoted: string): void {
  const trial = join(path, `.trial-${randomBytes(6).toString('hex')}`);
  try {
    writeFileSync(trial, '', { flag: 'wx', mode: 0o600 });
    linkSync(trial, `${trial}-link`);
  } catch (error) {
    throw problem(`is ${quoted}, where files cannot be created and linked (${reasonOf(error)}).`, error);
  } finally {
    rmSync(trial, { force: true });
    rmSync(`${trial}-link`, { force: true });
  }
}

function problem(text: string, cause?: unknown): SessionConfigError {
  return new SessionConfigError('directory', text, { cause });
}
