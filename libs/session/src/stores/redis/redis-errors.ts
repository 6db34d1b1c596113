import { SessionRecordCorruptError, SessionStoreUnavailableError } from '../../session.errors.js';

/** What a server answers that is up but was asked for something wrong. All else comes from a server that cannot serve. */
const WRONG_QUESTIONS = /^(ERR|WRONGTYPE|CROSSSLOT|NOSCRIPT|EXECABORT)\b/;

const UNAVAILABLE_ANSWERS = /max number of clients|WAIT cannot be used with replica/i;

/** Before version 7, Redis wraps what a command in a script answered. */
const WRAPPED = /^ERR Error running script.*@user_script: ?\d+: -?([A-Z]{2,}\b.*)$/s;

/** Is it an answer of the server, and not a failure on the way to it? Answers begin with a code in capitals. */
const ANSWER = /^[A-Z]{2,}\b /;

/**
 * What the store throws for an error of the client: unavailable, corrupt, or a copy of the error. None carries what
 * the clients hang on theirs: the command with its keys and session data.
 */
export function toStoreError(operation: string, error: unknown): Error {
  const cause = withoutCommand(error);
  if (cause.message.startsWith('WRONGTYPE')) {
    return new SessionRecordCorruptError(
      'A session record in Redis is not a string. It is treated as absent and left for inspection.',
      { cause },
    );
  }
  if (isWrongQuestion(cause.message)) return cause;
  return new SessionStoreUnavailableError(
    operation,
    `Redis did not carry it out (${cause.message}). Check that it is up, accepts writes, and that the client can reach it.`,
    { cause },
  );
}

function isWrongQuestion(message: string): boolean {
  return ANSWER.test(message) && WRONG_QUESTIONS.test(message) && !UNAVAILABLE_ANSWERS.test(message);
}

/** A new error, for the clients put the command on theirs, and stacks quote messages. */
function withoutCommand(error: unknown): Error {
  const { name, message, code } = (error ?? {}) as { name?: unknown; message?: unknown; code?: unknown };
  // Several addresses that all refuse make an error without a message.
  const text = [message, code].find((part): part is string => typeof part === 'string' && part !== '');
  const clean = new Error(text === undefined ? 'unknown error' : (WRAPPED.exec(text)?.[1] ?? text));
  if (typeof name === 'string') clean.name = name;
  return typeof code === 'string' ? Object.assign(clean, { code }) : clean;
}
