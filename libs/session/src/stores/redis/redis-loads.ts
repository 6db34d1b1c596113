import { SessionRecordCorruptError } from '../../session.errors.js';
import { type RecordCodec } from '../record-codec.js';
import { type RecordLimits, type SessionRecord, type SessionStore } from '../session-store.js';
import { type RedisCommands, type ServerClock, type Use } from './redis-commands.js';
import { type DecodedSession, decodeSession, encodeHead, moveClock, newWriteId } from './redis-record.js';
import { foldScript } from './redis-scripts.js';
import { type UserIndex } from './redis-users.js';

/** What loads and saves work with. */
export interface RedisParts {
  readonly prefix: string;
  readonly codec: RecordCodec;
  readonly commands: RedisCommands;
  readonly users: UserIndex;
  readonly clock: ServerClock;
  /** Of whom the limits are asked. */
  readonly store: Pick<SessionStore, 'limits'>;
}

/** How many sessions are remembered. */
const REMEMBERED = 10_000;

/** For so long a process does not ask again whether the index of the user still has the session. Milliseconds. */
const ENTRY_TRUSTED_FOR = 60_000;

/** Up to this part of its limit a record is written to without looking at its size; beyond, Redis refuses that. */
export const SMALL = 1 / 2;
/** So much of the limit a process writes to one record until it looks at it again. */
const UNSEEN = 1 / 32;

/** The entry of a session in the index of its user. */
interface Entry {
  /** When it is over, on the server's clock; Infinity without a user. */
  until: number;
  /** Until when it is taken to be there, on the steady clock of this process. */
  trustedUntil: number;
}

const NO_USER: Entry = { until: Infinity, trustedUntil: Infinity };

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
  /** The write id of the head. */
  headId: string;
  entry: Entry;
  size: number;
  keys: number;
  /** Characters that this process has written without looking: in all, and when that load began. */
  written: number;
  writtenBefore: number;
}

type UseLoad<Result> = (decoded: DecodedSession, load: RecentLoad) => Result;

/** A look at a session that is under way. */
interface Looking<Result> {
  operation: string;
  id: string;
  use: UseLoad<Result>;
  /** What was known when it began. */
  knownEntry: Entry | undefined;
  writtenBefore: number;
}

/** Loads sessions, and remembers those that this process has loaded last. What it has forgotten is loaded again. */
export class RedisLoads {
  private readonly recent = new Map<string, RecentLoad>();
  private readonly folding = new Set<string>();

  constructor(private readonly parts: RedisParts) {}

  load(operation: string, id: string): Promise<SessionRecord | null> {
    return this.look(operation, id, ({ record }) => moveClock(record, -this.parts.clock.offset));
  }

  /**
   * What is known of a live session, at once if this process remembers it; null when there is none.
   * @param version that it has to have at least
   */
  recentLoad(operation: string, id: string, version = 0): RecentLoad | Promise<RecentLoad | null> {
    const { clock } = this.parts;
    const waiting = clock.ready(operation);
    if (waiting) return waiting.then(() => this.recentLoad(operation, id, version));
    const known = this.recent.get(id);
    if (known && known.version >= version && known.expiresAt > clock.now()) return known;
    return this.look(operation, id, (_, load) => load).then(
      // The latest, so that parallel saves count together. Another save may have had it forgotten, which is not gone.
      (load) => load && (this.recent.get(id) ?? load),
    );
  }

  /** What `use` makes of a live session; null when there is none. */
  private look<Result>(operation: string, id: string, use: UseLoad<Result>): Promise<Result | null> {
    const before = this.recent.get(id);
    const looking = { operation, id, use, knownEntry: before?.entry, writtenBefore: before?.written ?? 0 };
    return this.elements(operation, id, (elements) => {
      const waiting = this.parts.clock.ready(operation);
      return waiting ? waiting.then(() => this.seen(looking, elements)) : this.seen(looking, elements);
    });
  }

  private seen<Result>(
    looking: Looking<Result>,
    elements: readonly string[],
  ): Result | null | Promise<Result | null> {
    const { operation, id, knownEntry } = looking;
    const decoded = elements.length > 0 ? this.decode(elements, id) : null;
    if (!decoded) {
      this.recent.delete(id);
      return null;
    }
    const entry = this.entryOf(operation, decoded.record, knownEntry);
    return entry instanceof Promise
      ? entry.then((found) => this.admitted(looking, elements, decoded, found))
      : this.admitted(looking, elements, decoded, entry);
  }

  private admitted<Result>(
    { id, use, writtenBefore }: Looking<Result>,
    elements: readonly string[],
    decoded: DecodedSession,
    entry: Entry | null,
  ): Result | null {
    if (!entry) {
      this.recent.delete(id);
      return null;
    }
    const load = this.remember(decoded, entry, writtenBefore);
    if (decoded.longLog) this.fold(elements, decoded);
    return use(decoded, load);
  }

  forget(id: string): void {
    this.recent.delete(id);
  }

  forgetUser(userId: string): void {
    for (const [id, load] of this.recent) if (load.userId === userId) this.recent.delete(id);
  }

  elements<Result = string[]>(
    operation: string,
    id: string,
    use?: (elements: string[]) => Result | Promise<Result>,
  ): Promise<Result> {
    const { commands, prefix } = this.parts;
    return commands.send(operation, ['lrange', prefix + id, '0', '-1'], use as Use<Result> | undefined);
  }

  decode(elements: readonly string[], id: string): DecodedSession | null {
    return decodeSession(elements, id, this.parts.codec, this.parts.clock.now());
  }

  /** One of a list, in which one corrupt record must not hide the others. */
  decodeListed(reply: unknown, id: string): DecodedSession | null {
    try {
      if (reply instanceof Error) throw reply;
      const elements = reply as string[];
      return elements.length > 0 ? this.decode(elements, id) : null;
    } catch (error) {
      if (error instanceof SessionRecordCorruptError) return null;
      throw error;
    }
  }

  /** What stands in the place of these elements after a fold, and how they are recognized. */
  foldValues(
    elements: readonly string[],
    { record, keptUntil }: DecodedSession,
    writeId: string,
  ): (string | number)[] {
    const { codec } = this.parts;
    const { id, data, meta } = record;
    const head = encodeHead(record, codec.encodeMeta(meta, id), keptUntil, writeId);
    return [elements.at(-2) ?? '', -elements.length, head, codec.encodeSnapshot(data, id)];
  }

  /** Nobody waits for it: should it fail, the next load finds the log as long as before. */
  private fold(elements: readonly string[], decoded: DecodedSession): void {
    const { id } = decoded.record;
    if (this.folding.has(id)) return;
    this.folding.add(id);
    const { commands, prefix } = this.parts;
    commands
      .run('load', foldScript, prefix + id, this.foldValues(elements, decoded, newWriteId()))
      .catch(() => {})
      .finally(() => this.folding.delete(id));
  }

  /** Null: the index of its user does not have it, so that it has ended. */
  private entryOf(
    operation: string,
    { id, userId }: SessionRecord,
    known: Entry | undefined,
  ): Entry | Promise<Entry | null> {
    if (userId === null) return NO_USER;
    const now = performance.now();
    if (known && known.trustedUntil > now) return known;
    return this.parts.users
      .entry(operation, userId, id)
      .then((until) => (until === null ? null : { until, trustedUntil: now + ENTRY_TRUSTED_FOR }));
  }

  private remember(
    { record, keptUntil, headId, size }: DecodedSession,
    entry: Entry,
    writtenBefore: number,
  ): RecentLoad {
    const { id, userId, version, expiresAt, data } = record;
    const keys = this.parts.store.limits.keys === Infinity ? 0 : Object.keys(data).length;
    const { written = 0 } = this.recent.get(id) ?? {};
    const load = { userId, version, expiresAt, keptUntil, headId, entry, size, keys, written, writtenBefore };
    this.recent.delete(id);
    this.recent.set(id, load);
    if (this.recent.size > REMEMBERED) {
      const [oldest = ''] = this.recent.keys();
      this.recent.delete(oldest);
    }
    return load;
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
