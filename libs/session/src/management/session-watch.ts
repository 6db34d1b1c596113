import { Observable } from 'rxjs';
import { type ProbeFactory, type SessionProbe } from '../session/session-probe.js';
import { type Session } from '../session/session.js';

/**
 * Emits once, and completes, when a session has ended. It looks only while somebody is subscribed, and an unsubscribed
 * process can exit. While the store is away nothing is known, and nothing is emitted.
 * @param every milliseconds from one look to the next, on average: many sockets do not ask all at once
 */
export function watchEnd(isAlive: SessionProbe, every: number): Observable<void> {
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

/**
 * Probes the session behind this object. What has no key has not been saved, so there is nothing yet that could end; a
 * key that the object has lost is still the one to ask for.
 */
export function probeOf(session: Pick<Session, 'sessionKey'>, probes: ProbeFactory): SessionProbe {
  let probe: SessionProbe | undefined;
  let probed: string | null = null;
  return async () => {
    const { sessionKey } = session;
    if (sessionKey !== null && sessionKey !== probed) {
      probe = probes(sessionKey);
      probed = sessionKey;
    }
    return probe ? probe() : true;
  };
}
