import { SessionRecordCorruptError, SessionStoreUnavailableError } from '../../session.errors.js';

/** Store keys, and user and password of a URL. */
const SECRETS = /v\d+-[0-9a-f]{64}|(?<=:\/\/)[^\s/@]*(?=@)/g;

/** How stores on files say that there is no such session. From a socket, it says that there is no server. */
export function isNothingThere(fault: unknown): boolean {
  const { code, syscall } = (fault ?? {}) as { code?: unknown; syscall?: unknown };
  return code === 'ENOENT' && syscall !== 'connect';
}

/**
 * What is thrown for an error of a store. Nobody knows what all the stores mean by theirs, so that of all of them only
 * a parser's complaint is taken for something else than an outage.
 */
export function toStoreError(operation: string, fault: unknown): Error {
  const { name, message } = (fault ?? {}) as { name?: unknown; message?: unknown };
  // Without a cause: a parser quotes what it could not read.
  if (name === 'SyntaxError') return corruptRecord();
  const text = (typeof message === 'string' ? message : String(fault)).replaceAll(SECRETS, '…');
  return new SessionStoreUnavailableError(
    operation,
    `the express-session store did not carry it out (${text}). Check that what it keeps sessions in is up and can be reached.`,
    // Only the message: clients hang the command with its arguments on their errors.
    { cause: new Error(text) },
  );
}

export function corruptRecord(): SessionRecordCorruptError {
  return new SessionRecordCorruptError(
    'A session record in the express-session store could not be decoded. It is treated as absent and left for inspection.',
  );
}
