import { Observable } from 'rxjs';

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
