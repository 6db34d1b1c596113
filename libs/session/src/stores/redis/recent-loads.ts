import { type RecordLimits, type SessionRecord } from '../session-store.js';
import { type DecodedSession } from './redis-record.js';

/** How many sessions are remembered. */
const MOST = 10_000;

/** Up to this part of its limit a record is written to without looking at its size; beyond, Redis refuses that. */
export const SMALL = 1 / 2;
/** So much of the limit a process writes to one record until it looks at it again. */
const UNSEEN = 1 / 32;

/** The entry of a session in the index of its user. */
export interface Entry {
  /** When it is over, on the server's clock; Infinity without a user. */
  until: number;
  /** Until when it is taken to be there, on the steady clock of this process. */
  trustedUntil: number;
}

/**
 * What the last load of a session in this process has told: what saves and touches need in order to do with one command.
 * Moments are on the server's clock.
 */
export interface RecentLoad {
  userId: string | null;
  version: number;
  expiresAt: number;
  /** Redis keeps the key at least until then. */
  keptUntil: number;
  entry: Entry;
  size: number;
  keys: number;
  /** Characters that this process has written without looking: in all, and when that load began. */
  written: number;
  writtenBefore: number;
}

/** The sessions that this process has loaded last. What it has forgotten is loaded again. */
export class RecentLoads {
  private readonly loads = new Map<string, RecentLoad>();

  get(id: string): RecentLoad | undefined {
    return this.loads.get(id);
  }

  /** @param writtenBefore as it was when the load began */
  remember(decoded: DecodedSession, entry: Entry, writtenBefore: number, keys: number): void {
    const { id, userId, version, expiresAt } = decoded.record;
    const { keptUntil, size } = decoded;
    const { written = writtenBefore } = this.loads.get(id) ?? {};
    this.loads.delete(id);
    this.loads.set(id, {
      userId,
      version,
      expiresAt,
      keptUntil,
      entry,
      size,
      keys,
      written,
      writtenBefore,
    });
    if (this.loads.size <= MOST) return;
    for (const oldest of this.loads.keys()) {
      this.loads.delete(oldest);
      break;
    }
  }

  forget(id: string): void {
    this.loads.delete(id);
  }

  forgetUser(userId: string): void {
    for (const [id, load] of this.loads) if (load.userId === userId) this.loads.delete(id);
  }
}

/**
 * May these characters be written without looking at the size of the whole record? So it does not grow past its limit,
 * however many requests save at once, in up to 16 processes; each further one could add a 32nd.
 */
export function hasRoomFor(
  characters: number,
  { size, written, writtenBefore }: RecentLoad,
  limits: Readonly<RecordLimits>,
): boolean {
  if (limits.size === Infinity) return true;
  const unseen = written - writtenBefore + characters;
  return unseen <= limits.size * UNSEEN && size + unseen <= limits.size * SMALL;
}
