import { Observable } from 'rxjs';
import { SessionRecordCorruptError } from '../session.errors.js';
import { type SessionRecord } from '../stores/session-store.js';
import { type SessionEnvironment } from './session-environment.js';
import { acceptanceOf } from './user-sessions.js';

/**
 * Asks for the session that this token leads to, as often as it is called, through all rotations. To ask is no use of
 * the session. Null: it has ended, or the token never opened it.
 * @param admitted the token has opened the session already
 */
export function watchSession(
  environment: SessionEnvironment,
  token: string,
  admitted = false,
): () => Promise<SessionRecord | null> {
  const look = environment.tokens.watch(token, admitted);
  return async () => {
    const record = await look().catch(nullIfUnreadable);
    return record && (await acceptanceOf(record.userId, environment))(record) ? record : null;
  };
}

/**
 * Emits once, and completes, when a session has ended. It looks only while somebody is subscribed, and an unsubscribed
 * process can exit. While the store is away nothing is known, and nothing is emitted.
 * @param every milliseconds from one look to the next, on average: many sockets do not ask all at once
 */
export function watchEnd(isAlive: () => Promise<boolean>, every: number): Observable<void> {
  return new Observable((subscriber) => {
    let timer: NodeJS.Timeout | undefined;
    const wait = (): void => {
      if (!subscriber.closed) timer = setTimeout(look, every * (0.75 + Math.random() / 2)).unref();
    };
    const look = (): void => {
      isAlive().then((alive) => {
        if (alive) return wait();
        subscriber.next();
        subscriber.complete();
      }, wait);
    };
    look();
    return () => clearTimeout(timer);
  });
}

/** A record that cannot be read lets nobody in. */
export function nullIfUnreadable(error: unknown): null {
  if (error instanceof SessionRecordCorruptError) return null;
  throw error;
}
