import { setTimeout as sleep } from 'node:timers/promises';
import { SessionConfigError } from '../session.errors.js';
import { type SessionEventListener } from '../session/session-events.js';
import { type SessionStore } from '../stores/session-store.js';

/** How `Sessions.clearExpired` works: in which steps, how far, and when it stops. Every member may be left out. */
export interface ClearingOptions {
  /** Records per statement. Larger batches clear faster and hold their locks longer. Default 1000. */
  batchSize?: number;
  /** Clear at most this many records. Default: all of them. */
  limit?: number;
  /** Stops the sweep after the batch under way; the promise then rejects with `signal.reason`. */
  signal?: AbortSignal;
  /** Called after every batch with the number of records cleared so far. */
  onProgress?: (total: number) => void;
}

/**
 * Deletes the expired records of a store, batch by batch, and resolves with how many this call deleted.
 *
 * Between two batches it pauses for as long as the batch took, so that requests keep at least half of the store's
 * time. Any number of processes may sweep the same store at once: no record is counted twice, and on PostgreSQL
 * a sweep that meets another one leaves the rest to it.
 *
 * As everywhere with an `AbortSignal`, an abort rejects. What was cleared until then stays cleared; `onProgress`
 * has been told how much that is. A sweep whose last batch was already done resolves all the same.
 *
 * @param emit is told of a sweep that has finished, and not of one that was aborted or has failed
 * @throws SessionConfigError when `batchSize` or `limit` is out of range
 * @throws SessionUnsupportedError when the store keeps nothing that could be cleared
 * @throws SessionStoreUnavailableError when the store cannot be reached
 * @example
 * ```ts
 * await clearExpired(store, { limit: 100_000, signal: AbortSignal.timeout(60_000) });
 * ```
 */
export async function clearExpired(
  store: Pick<SessionStore, 'clearExpired'>,
  options: ClearingOptions = {},
  emit: SessionEventListener = () => {},
): Promise<number> {
  const { batchSize = 1000, limit = Infinity, signal, onProgress } = options;
  demandWholeNumber('batchSize', batchSize, 1);
  if (limit !== Infinity) demandWholeNumber('limit', limit, 0);

  const beganAt = performance.now();
  let total = 0;
  while (total < limit) {
    signal?.throwIfAborted();
    const size = Math.min(batchSize, limit - total);
    const startedAt = performance.now();
    const cleared = await store.clearExpired(size);
    total += cleared;
    onProgress?.(total);
    if (cleared < size) break;
    if (total < limit) await pause(performance.now() - startedAt, signal);
  }
  emit({ type: 'cleared', count: total, duration: performance.now() - beganAt });
  return total;
}

/** `1 expired session`, `2 expired sessions`. */
export function countOfExpired(count: number): string {
  return `${count} expired session${count === 1 ? '' : 's'}`;
}

async function pause(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await sleep(milliseconds, undefined, { ...(signal && { signal }) });
  } catch (error) {
    signal?.throwIfAborted(); // the timer rejects with an error of its own instead of the signal's reason
    throw error;
  }
}

function demandWholeNumber(option: string, value: number, least: number): void {
  if (Number.isSafeInteger(value) && value >= least) return;
  throw new SessionConfigError(option, `is ${value}, but must be a whole number of at least ${least}.`);
}

/**
 * What went wrong, in one line for a log or a terminal. Credentials inside URLs are blanked, because drivers like to
 * quote the address they could not reach.
 */
export function failureMessage(error: unknown): string {
  return firstText(error)
    .replaceAll(/:\/\/\S*@/g, '://***@')
    .replaceAll(/\s+/g, ' ')
    .trim();
}

function firstText(error: unknown): string {
  if (typeof error !== 'object' || error === null) return String(error);
  const { message, code, errors, name } = error as Partial<AggregateError> & { code?: unknown };
  if (message) return message;
  // A refused connection to a host with two addresses is an AggregateError without a message of its own.
  if (Array.isArray(errors) && errors.length > 0) return firstText(errors[0]);
  return typeof code === 'string' ? code : (name ?? 'unknown error');
}
