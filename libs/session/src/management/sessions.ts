import { type SessionEnvironment } from '../session/session-environment.js';
import { SessionState } from '../session/session-state.js';
import { createSession, type Session, type SessionData } from '../session/session.js';
import { type SessionStore } from '../stores/session-store.js';
import { clearExpired, type ClearingOptions } from './clear-expired.js';

/**
 * Sessions outside of requests: in jobs, commands, sockets and tests. What was done to them is kept by
 * `await session.save()`, since there is no response to wait for.
 *
 * @example
 * ```ts
 * const session = await sessions.open(sessionKey);
 * if (session) {
 *   session.set('seen', true);
 *   await session.save();
 * }
 * ```
 */
export class Sessions {
  constructor(
    private readonly store: SessionStore,
    private readonly environment: SessionEnvironment,
  ) {}

  /** The live session with this session key (the value of the cookie), or null. */
  async open<Data extends object = SessionData>(sessionKey: string): Promise<Session<Data> | null> {
    const state = new SessionState(this.environment, sessionKey);
    await state.load();
    return state.record && (createSession(state) as unknown as Session<Data>);
  }

  /** A new session with these data, saved; its `sessionKey` is what a cookie would carry. */
  async create<Data extends object = SessionData>(data: Partial<Data> = {}): Promise<Session<Data>> {
    const state = new SessionState(this.environment, undefined);
    await state.load();
    for (const [key, value] of Object.entries(data)) state.dictionary.set(key, value);
    await state.createRecord();
    return createSession(state) as unknown as Session<Data>;
  }

  /**
   * Deletes the expired sessions of the store, in small batches, and resolves with how many.
   * @see clearExpired for the options and errors
   */
  clearExpired(options?: ClearingOptions): Promise<number> {
    return clearExpired(this.store, options, this.environment.emit);
  }
}
