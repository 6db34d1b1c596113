import { SessionStoreUnavailableError } from '../../session.errors.js';

/** The code of an error of the operating system (`ENOENT`, …), else undefined. */
export function systemErrorCode(error: unknown): string | undefined {
  // By its look, because errors of Node's own modules are not `instanceof Error` where code runs in a realm of its own.
  if (typeof error !== 'object' || error === null || !('syscall' in error)) return undefined;
  return (error as NodeJS.ErrnoException).code;
}

/** Runs `work`; undefined when it fails with this code. */
export function unless<Result>(code: string, work: () => Result): Result | undefined {
  try {
    return work();
  } catch (error) {
    if (systemErrorCode(error) === code) return undefined;
    throw error;
  }
}

/** Runs `work`; false when it fails with this code. */
export function succeeds(work: () => void, code: string): boolean {
  return unless(code, () => (work(), true)) ?? false;
}

/** What the store throws for an error of the operating system. Node's own message names the file, and so a session. */
export function toStoreError(operation: string, directory: string, error: unknown): unknown {
  const code = systemErrorCode(error);
  if (code === undefined) return error;
  const reason = reasonOf(error);
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
    `${reason}. Check the directory "${directory}" and its disk: it must exist, be writable, and not be full.`,
    cause && { cause },
  );
}

/** The message of an error of the operating system, without the path. */
export function reasonOf(error: unknown): string {
  return (error as Error).message.replace(/,.*$/s, '');
}
