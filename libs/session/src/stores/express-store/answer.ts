import { isPromise } from 'node:util/types';

export type Callback = (error?: unknown, answer?: unknown) => void;

/**
 * The answer to a call, by its callback or by a promise. The first one counts, and the callback never throws: there are
 * stores that catch that and call it once more.
 * @param takesCallback whether the method has a parameter for it. If it has, what its promise resolves with means
 * nothing: an async method may return before its answer is there
 * @param patience milliseconds until the answer counts as lost
 */
export function answerOf(
  call: (callback: Callback) => unknown,
  takesCallback: boolean,
  patience?: number,
): Promise<unknown> {
  return new Promise<unknown>((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined;
    const settle: Callback = (error, answer) => {
      clearTimeout(timer);
      if (error) reject(error);
      else resolve(answer);
    };
    if (patience !== undefined) {
      timer = setTimeout(
        () => settle(new Error(`there was no answer within ${patience / 1000} s`)),
        patience,
      );
      timer.unref();
    }
    try {
      const returned = call((error, answer) => settle(error, answer));
      if (!isPromise(returned)) return;
      returned.then(
        (answer) => takesCallback || settle(null, answer),
        (error: unknown) => settle(error ?? new Error('it failed without an error')),
      );
    } catch (error) {
      settle(error ?? new Error('it failed without an error'));
    }
  });
}
