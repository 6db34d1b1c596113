import { createHash } from 'node:crypto';
import { SessionRecordCorruptError } from '../../session.errors.js';
import { inBatches, type RedisCommands, valueOf } from './redis-commands.js';
import { type Command } from './redis-connection.js';
import { enterScript } from './redis-scripts.js';

/** Entries outlive their sessions by this, for the clocks of two servers and the way between them. Milliseconds. */
const MARGIN = 60_000;
/** An entry is made for twice as long as its session has to live, so that few saves have to prolong it. */
const SHORTEST_ENTRY = 60_000;

/**
 * Which sessions are a user's: a sorted set of session ids per user, scored with the moment at which the entry is over.
 *
 * **A session with a user counts only while its entry is there.** The entry is made before the session and taken away
 * after it, and lasts longer. So what the index has lost has ended with that, and a login that was under way when all
 * sessions of the user were ended leads nowhere. Nothing has to be found to be ended for certain.
 *
 * An entry without a session is harmless: a list looks at each session itself.
 */
export class UserIndex {
  constructor(
    private readonly commands: RedisCommands,
    private readonly prefix: string,
  ) {}

  /**
   * Makes an entry for a session that is about to be created.
   * @param lives milliseconds
   */
  async enter(operation: string, userId: string, id: string, lives: number): Promise<void> {
    // For good, as an end is: without its entry the session is none.
    await this.commands.runForGood(operation, enterScript, this.keyOf(userId), [id, lasts(lives), 1]);
  }

  /** Lets the entry last for a session that is to live longer. Resolves with its moment; null: there is none. */
  async prolong(operation: string, userId: string, id: string, lives: number): Promise<number | null> {
    const values = [id, lasts(lives), 0];
    const reply = await this.commands.runForGood(operation, enterScript, this.keyOf(userId), values);
    return Number(reply) === 0 ? null : Number(reply) - MARGIN;
  }

  /** The moment until which the entry lasts; null: there is none. */
  entry(operation: string, userId: string, id: string): Promise<number | null> {
    return unlessLost(async () => {
      const score = await this.commands.send(operation, ['zscore', this.keyOf(userId), id]);
      return score === null ? null : Number(score) - MARGIN;
    }, null);
  }

  /** Which of these sessions of users have their entry. Asked all at once. */
  async entered(
    operation: string,
    sessions: readonly { id: string; userId: string }[],
  ): Promise<Set<string>> {
    const questions = sessions.map(({ id, userId }): Command => ['zscore', this.keyOf(userId), id]);
    const scores = questions.length > 0 ? await this.commands.sendAll(operation, questions) : [];
    return new Set(
      sessions.filter((_, place) => unlessCorrupt(scores[place], null) !== null).map(({ id }) => id),
    );
  }

  members(operation: string, userId: string): Promise<string[]> {
    return unlessLost(
      () => this.commands.send<string[]>(operation, ['zrange', this.keyOf(userId), '0', '-1']),
      [],
    );
  }

  /** Resolves with how many there were. */
  remove(operation: string, userId: string, ids: readonly string[]): Promise<number> {
    const key = this.keyOf(userId);
    return unlessLost(
      () =>
        this.commands.countForGood(
          operation,
          inBatches(ids).map((batch) => ['zrem', key, ...batch]),
        ),
      0,
    );
  }

  /** Hashed, so that no user id, whatever it holds, reaches into another key. As JSON, which tells all texts apart. */
  private keyOf(userId: string): string {
    const hash = createHash('sha256').update(JSON.stringify(userId)).digest('base64url');
    return `${this.prefix}user:${hash.slice(0, 32)}`;
  }
}

function lasts(lives: number): number {
  return Math.round(Math.max(SHORTEST_ENTRY, 2 * lives) + MARGIN);
}

/** A reply of `sendAll`, or this instead of one from a key of another type. */
function unlessCorrupt(reply: unknown, instead: unknown): unknown {
  if (reply instanceof SessionRecordCorruptError) return instead;
  return valueOf(reply);
}

/** An index of another type is as good as lost. */
async function unlessLost<Result>(work: () => Promise<Result>, lost: Result): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof SessionRecordCorruptError) return lost;
    throw error;
  }
}
