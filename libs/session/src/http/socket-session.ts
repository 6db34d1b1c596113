import { type IncomingMessage } from 'node:http';
import { UnauthorizedException } from '@nestjs/common';
import { defer, type Observable, share } from 'rxjs';
import { LiveSession } from '../session/live-session.js';
import { createSession, type Session } from '../session/session.js';
import { type SessionEnvironment } from '../session/session-environment.js';
import { type Held } from '../session/token-store.js';
import { watchEnd, watchSession } from '../session/watch-end.js';
import { type SessionRecord } from '../stores/session-store.js';
import { toHttpException } from './failure-response.js';
import { presentedKeys } from './presented-keys.js';
import { type HttpEnvironment } from './request-session.js';

/** With a staleness of nothing, so often is looked for the end of the session, in milliseconds. */
const LOOKS_EVERY = 1000;

/**
 * The session behind a socket: that of its handshake, through all rotations, until it ends. The store is not asked
 * before a message needs the session.
 */
export class SocketSession {
  /** Emits once when the session has ended, and never where there was none. Looks while somebody is subscribed. */
  readonly ended: Observable<void>;

  readonly #environment: SessionEnvironment;
  readonly #keys: readonly string[];
  readonly #staleness: number;

  #opening: Promise<void> | null = null;
  /** Asks for the record; null: the handshake brought no live session. */
  #look: (() => Promise<SessionRecord | null>) | null = null;
  #token = '';
  /** The record as it was at some moment; null: a message has to look. */
  #known: { record: SessionRecord; at: number } | null = null;
  /** When a message has last needed the session. */
  #usedAt = 0;
  /** When `cycleKey` had made the key of the handshake. */
  #cycle: number | null = null;
  #over = false;
  /** Raised by everything that makes what a look on its way will find worthless. */
  #generation = 0;

  constructor({ options, sessions }: HttpEnvironment, handshake: IncomingMessage) {
    this.#environment = sessions;
    this.#keys = presentedKeys(handshake, options);
    this.#staleness = options.sockets.staleness;
    // A look may be late by a quarter of this.
    const every = (this.#staleness || LOOKS_EVERY) * 0.75;
    this.ended = defer(() => watchEnd(() => this.#isAlive(), every)).pipe(share());
  }

  /**
   * The session for one message, as it is now, give or take the staleness.
   * @throws UnauthorizedException when the session has ended
   */
  async open(): Promise<LiveSession> {
    this.#usedAt = performance.now();
    const isFirst = this.#opening === null;
    await this.#admitOnce();
    if (this.#over) throw ended();
    if (!this.#look) return LiveSession.ofMessage(this.#environment, null);
    let record = this.#known?.record;
    if (!this.#known || (!isFirst && performance.now() - this.#known.at >= this.#staleness)) {
      record = (await this.#ask()) ?? undefined;
    }
    if (!record) throw ended();
    // Messages at the same time must not see what others change and have not saved.
    const held: Held = { token: this.#token, record: { ...record, data: structuredClone(record.data) } };
    return LiveSession.ofMessage(this.#environment, held);
  }

  /** What was known is outdated: a message has written. */
  forget(): void {
    this.#known = null;
    this.#generation += 1;
  }

  /** After a failure the next message tries again. */
  #admitOnce(): Promise<void> {
    return (this.#opening ??= this.#admit().catch((error: unknown) => {
      this.#opening = null;
      throw error;
    }));
  }

  async #admit(): Promise<void> {
    const at = performance.now();
    // The handshake was long before: what has replaced its key since makes it no copy that comes back.
    const live = new LiveSession(this.#environment, this.#keys);
    live.slot.isHandshake = true;
    await live.load();
    const { record, token } = live;
    if (!record || token === null) {
      this.#over = live.isReplaced;
      return;
    }
    this.#token = token;
    this.#cycle = cycleOf(record);
    this.#known = { record, at };
    this.#look = watchSession(this.#environment, token, true);
  }

  async #ask(): Promise<SessionRecord | null> {
    if (this.#over || !this.#look) return null;
    const [at, generation] = [performance.now(), this.#generation];
    const found = await this.#look();
    const record = found && this.#isCycled(found) ? null : found;
    if (record === null) {
      this.#over = true;
      this.forget();
    } else if (generation === this.#generation) {
      this.#known = { record, at };
    }
    return record;
  }

  /** Has `cycleKey` put another key in the place of this socket's? */
  #isCycled(record: SessionRecord): boolean {
    const cycle = cycleOf(record);
    return cycle !== null && cycle !== this.#cycle;
  }

  async #isAlive(): Promise<boolean> {
    const isFirst = this.#opening === null;
    await this.#admitOnce();
    // The message that has begun all this gets its answer before the socket is closed.
    if (!this.#look && this.#over) return isFirst;
    // Where there was no session, none can end: there is nothing to look at again.
    if (!this.#look) return new Promise(() => {});
    const isAlive = (await this.#ask()) !== null;
    // A socket that is only open holds no data in memory: the next message asks for them.
    if (performance.now() - this.#usedAt >= this.#staleness) this.#known = null;
    return isAlive;
  }
}

/** When the secret was last replaced by something else than a renewal, in milliseconds after `createdAt`. */
function cycleOf({ meta: { rotation } }: SessionRecord): number | null {
  return rotation && rotation.formerHash === undefined ? rotation.after : null;
}

function ended(): UnauthorizedException {
  return new UnauthorizedException('The session of this socket has ended.');
}

/** The session as one message over a socket has it. What was done to it is kept by `save`, before the answer leaves. */
export class MessageSession {
  readonly #socket: SocketSession;
  #live: LiveSession | null = null;
  #session: Session | undefined;
  #loading: Promise<true> | null = null;

  constructor(socket: SocketSession) {
    this.#socket = socket;
  }

  /** Undefined before it is loaded, and after `destroy()`. */
  get session(): Session | undefined {
    return this.#live?.slot.vacated ? undefined : this.#session;
  }

  /** Emits when the session has ended. */
  get ended(): Observable<void> {
    return this.#socket.ended;
  }

  /**
   * Loads the session, once. What is resolved with is what a guard answers.
   * @throws UnauthorizedException when the session of the socket has ended
   * @throws ServiceUnavailableException when the store is not to be had
   */
  load(): undefined | Promise<true> {
    if (this.#live) return undefined;
    return (this.#loading ??= this.#open());
  }

  /**
   * Saves what the handler did.
   * @throws SessionGoneError when the session has ended since
   * @throws SessionStoreUnavailableError when the store does not answer
   */
  async save(): Promise<void> {
    await this.#commit((live) => live.save());
  }

  /** The handler failed: only an end of the session reaches the store. */
  async drop(): Promise<void> {
    await this.#commit((live) => live.persist(true));
  }

  /** Nobody waits for the handler any more: what it changes from now on is an error, and an end so far is kept. */
  abandon(): void {
    this.close();
    // With the store away, the session ends when it times out.
    this.drop().catch(() => {});
  }

  /** The answer is on its way: what is changed from now on is an error, because nobody saves it. */
  close(): void {
    this.#live?.close();
  }

  async #commit(write: (live: LiveSession) => Promise<void>): Promise<void> {
    const live = this.#live;
    if (!live) return;
    const before = live.record;
    try {
      await write(live);
    } finally {
      if (live.record !== before) this.#socket.forget();
    }
  }

  async #open(): Promise<true> {
    try {
      this.#live = await this.#socket.open();
    } catch (error) {
      this.#loading = null;
      throw error instanceof UnauthorizedException ? error : toHttpException(error);
    }
    this.#session = createSession(this.#live);
    return true;
  }
}
