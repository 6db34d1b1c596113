import { randomBytes } from 'node:crypto';
import { linkSync, readdirSync, realpathSync, rmSync, statSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SessionConfigError } from '../../session.errors.js';
import { systemErrorCode } from './file-errors.js';

/** Linux's magic numbers of file systems that appends of several machines, or the death of one, can corrupt. */
const NETWORK_FILE_SYSTEMS = new Map([
  [0x6969, 'NFS'],
  [0x517b, 'SMB'],
  [0xff534d42, 'CIFS'],
  [0xfe534d42, 'SMB2'],
  [0x00c36400, 'Ceph'],
  [0x01021997, '9P'],
]);

/** Any access for those who are neither the owner nor of the group. */
const OTHERS = 0o007;

/**
 * The real path of a directory that may hold sessions.
 * @throws SessionConfigError when it may not
 */
export function checkDirectory(directory: string): string {
  if (typeof directory !== 'string' || directory === '') {
    throw problem('is missing. Name the directory that the session files go to.');
  }
  if (process.platform === 'win32') {
    throw problem(
      'needs Linux, macOS or another Unix: Windows cannot replace files that are open. Use another engine.',
    );
  }
  const path = realPathOf(directory);
  const { mode, uid } = statSync(path);
  const quoted = JSON.stringify(directory);
  if ((mode & OTHERS) !== 0) {
    const rights = (mode & 0o777).toString(8);
    throw problem(
      `is ${quoted}, which everybody on the machine may enter (mode ${rights}). Run chmod 700 on it.`,
    );
  }
  if (uid !== 0 && uid !== process.geteuid?.()) {
    throw problem(
      `is ${quoted}, which belongs to another user (${uid}), who could exchange its files. Use one of your own.`,
    );
  }
  const network = NETWORK_FILE_SYSTEMS.get(statfsSync(path).type);
  if (network !== undefined) {
    throw problem(
      `is ${quoted}, on a network file system (${network}), where sessions could be lost. Use a local disk.`,
    );
  }
  const planted = readdirSync(path, { withFileTypes: true }).find((entry) => entry.isSymbolicLink());
  if (planted !== undefined) {
    throw problem(
      `is ${quoted}, in which "${planted.name}" is a symbolic link. Remove it: files would be written elsewhere.`,
    );
  }
  tryOut(path, quoted);
  return path;
}

function realPathOf(directory: string): string {
  const quoted = JSON.stringify(directory);
  try {
    const path = realpathSync(directory);
    if (statSync(path).isDirectory()) return path;
  } catch (error) {
    if (systemErrorCode(error) !== 'ENOENT' && systemErrorCode(error) !== 'ENOTDIR') {
      throw problem(`is ${quoted}, which cannot be read (${reasonOf(error)}).`, error);
    }
    throw problem(
      `is ${quoted}, which does not exist. Make it first: mkdir -m 700, as the user of the application.`,
      error,
    );
  }
  throw problem(`is ${quoted}, which is not a directory.`);
}

/** Only a try shows what permissions, read-only mounts and file systems without hard links allow. */
function tryOut(path: string, quoted: string): void {
  const trial = join(path, `.trial-${randomBytes(6).toString('hex')}`);
  try {
    writeFileSync(trial, '', { flag: 'wx', mode: 0o600 });
    linkSync(trial, `${trial}-link`);
  } catch (error) {
    throw problem(`is ${quoted}, where files cannot be made and linked (${reasonOf(error)}).`, error);
  } finally {
    rmSync(trial, { force: true });
    rmSync(`${trial}-link`, { force: true });
  }
}

function reasonOf(error: unknown): string {
  return (error as Error).message.replace(/,.*$/s, '');
}

function problem(text: string, cause?: unknown): SessionConfigError {
  return new SessionConfigError('directory', text, { cause });
}
