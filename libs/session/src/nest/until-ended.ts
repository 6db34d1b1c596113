import { type Observable } from 'rxjs';

type Events = AsyncIterator<unknown> & AsyncIterable<unknown>;

/** The events of a subscription, until its session ends: then it is complete. Anything but events stays as it is. */
export function untilEnded(answer: unknown, ended: Observable<void>): unknown {
  if (!isAsyncIterable(answer)) return answer;
  const source = answer[Symbol.asyncIterator]();
  const waiting = new Set<(result: IteratorResult<unknown>) => void>();
  let over = false;
  const watch = ended.subscribe(() => {
    over = true;
    for (const resolve of waiting) resolve(DONE);
    // What it listens to is left even if nobody asks for an event any more.
    void Promise.resolve(source.return?.()).catch(() => {});
  });
  const events: Events = {
    next() {
      if (over) return Promise.resolve(DONE);
      return new Promise((resolve, reject) => {
        waiting.add(resolve);
        const settled = (): void => void waiting.delete(resolve);
        source.next().then(
          (result) => {
            settled();
            if (result.done) watch.unsubscribe();
            resolve(result);
          },
          (error: unknown) => {
            settled();
            watch.unsubscribe();
            reject(error);
          },
        );
      });
    },
    return(value) {
      watch.unsubscribe();
      return source.return?.(value) ?? Promise.resolve({ done: true, value: undefined });
    },
    throw(error) {
      watch.unsubscribe();
      return source.throw?.(error) ?? Promise.reject(error);
    },
    [Symbol.asyncIterator]() {
      return events;
    },
  };
  return events;
}

const DONE: IteratorResult<unknown> = { done: true, value: undefined };

function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return (
    typeof (value as Partial<AsyncIterable<unknown>> | null | undefined)?.[Symbol.asyncIterator] ===
    'function'
  );
}
