import { isNativeError } from 'node:util/types';
import { SessionError } from '../session.errors.js';

/**
 * What can be told of an error, to logs and listeners. Our own messages hold no secret; of a foreign one only the place
 * is told, for drivers quote statements, values and connection strings.
 */
export function safeMessage(error: unknown): string {
  if (error instanceof SessionError) return error.message;
  if (!isNativeError(error)) return 'something was thrown that is no error.';
  const frames = (error.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line));
  const { code } = error as NodeJS.ErrnoException;
  return [
    `${error.name}${typeof code === 'string' ? ` (${code})` : ''}, its message withheld`,
    ...frames,
  ].join('\n');
}
