import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';

/**
 * After so long anybody may take over from a process that has sealed a file, whatever became of it: it may live in another
 * container, where nobody here can see it end. The process itself gives up long before.
 */
export const LEASE = 30_000;

/** Undefined without a `/proc` like that of Linux. */
const ownStart = startOf(process.pid);
const home = pidNamespace();

/** This process, never to be mistaken for another one of this machine that gets its process id afterwards. */
export const thisProcess = `${home}/${process.pid}/${ownStart ?? ''}`;

/** Is it certain that this process will do nothing any more of what it has announced at that moment? */
export function hasGone(owner: string, announcedAt: number): boolean {
  if (owner === thisProcess) return isOver(announcedAt);
  const [ownerHome, pid = '', start] = owner.split('/');
  if (ownerHome !== home) return isOver(announcedAt);
  const isRunning = ownStart === undefined ? canBeSignalled(Number(pid)) : startOf(Number(pid)) === start;
  return !isRunning || isOver(announcedAt);
}

function isOver(announcedAt: number): boolean {
  return Date.now() - announcedAt > LEASE;
}

/** Containers count their processes on their own: the same number means another process there. */
function pidNamespace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid').replaceAll('/', '');
  } catch {
    return hostname();
  }
}

/** When a process has started, in ticks since the machine has; undefined when it runs no more. */
function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field is the name of the program, in parentheses, and may hold anything.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

function canBeSignalled(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}
