import { SessionRecordCorruptError, SessionStoreUnavailableError } from '../../session.errors.js';

/** The code of an error of the operating system (`ENOENT`, …), else undefined. */
export function systemErrorCode(error: unknown): string | undefined {
  // By its look, for errors of Node's own modules are not `instanceof Error` where code runs in a realm of its own.
  if (typeof error !== 'object' || error === null || !('syscall' in error)) return undefined;
  return (error as NodeJS.ErrnoException).code;
}

/** Runs `work`; undefined when it fails with one of these codes. */
export function unless<Result>(codes: readonly string[], work: () => Result): Result | undefined {
  try {
    return work();
  } catch (error) {
    if (codes.includes(systemErrorCode(error) ?? '')) return undefined;
    throw error;
  }
}

/** What the store throws for an error of the operating system. Node's own message names the file: a store key. */
export function toStoreError(operation: string, directory: string, error: unknown): unknown {
  const code = systemErrorCode(error);
  if (code === undefined) return error;
  const reason = (error as Error).message.replace(/,.*$/s, '');
  return unavailable(operation, directory, reason, Object.assign(new Error(reason), { code }));
}

export function unavailable(
  operation: string,
  directory: string,
  reason: string,
  cause?: Error,
): SessionStoreUnavailableError {
  return new SessionStoreUnavailableError(
    operation,
    `${reason}. Look after the directory "${directory}" and its disk: it has to be there, writable, and not full.`,
    cause && { cause },
  );
}

export function notAFile(): SessionRecordCorruptError {
  return new SessionRecordCorruptError(
    'Where a session file should be there is something else, such as a symbolic link or a file of another user. ' +
      'It was not followed and is left for inspection.',
  );
}
