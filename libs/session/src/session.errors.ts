import { inspect } from 'node:util';

/**
 * Every error of this library: one class per thing that can go wrong, one stable `code` per class.
 * A message names the option or key, says what was wrong, and ends with what to do about it.
 * No message ever holds a session key, a key hash or a value of the session.
 *
 * @example
 * ```ts
 * @Catch(SessionError)
 * class SessionErrors implements ExceptionFilter {
 *   catch(error: SessionError, host: ArgumentsHost) {
 *     // error.code is 'SESSION_LIMIT', 'SESSION_GONE', …
 *   }
 * }
 * ```
 */
export abstract class SessionError extends Error {
  /** Stable across releases: branch on this, not on the message. */
  abstract readonly code: string;

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/**
 * An option is missing, wrong, or contradicts another one, or `cookie.forRequest` returned a cookie that no browser would
 * keep. It is usually thrown while the application starts. Nest prints the whole error there, so the stack only has the
 * line of the application that led here.
 *
 * @example
 * ```ts
 * SessionModule.forRoot(memoryEngine(), { idleTimeout: '30' }); // throws: "idleTimeout" has no unit
 * ```
 */
export class SessionConfigError extends SessionError {
  readonly code = 'SESSION_CONFIG';

  constructor(
    /** Path of the option at fault, such as `cookie.maxAge`. */
    readonly option: string,
    problem: string,
    options?: ErrorOptions,
  ) {
    super(`Session option "${option}" ${problem}`, options);
    this.stack = [`${this.name}: ${this.message}`, ...callSite(this.stack)].join('\n');
  }

  /** Printed without the fields that the message has already. */
  [inspect.custom](): string {
    return this.stack ?? this.message;
  }
}

/**
 * The session was touched before it was loaded, or there is none.
 *
 * @example
 * ```ts
 * canActivate(context: ExecutionContext) {
 *   const { session } = context.switchToHttp().getRequest();
 *   session.userId; // throws; `await session.load()` comes first
 * }
 * ```
 */
export class SessionNotLoadedError extends SessionError {
  readonly code = 'SESSION_NOT_LOADED';
}

/**
 * A required key is missing, or a key is not allowed.
 *
 * @example
 * ```ts
 * session.getOrThrow('cart'); // throws if there is no cart
 * session.set('__proto__', 1); // throws
 * ```
 */
export class SessionKeyError extends SessionError {
  readonly code = 'SESSION_KEY';

  constructor(
    /** The dictionary key at fault (not a session key). */
    readonly key: string,
    problem: string,
  ) {
    super(`Session key ${JSON.stringify(key)} ${problem}`);
  }
}

/**
 * JSON cannot carry a value that was put into the session, or a value has the wrong type for the operation.
 *
 * @example
 * ```ts
 * session.set('at', new Date()); // throws: use `date.toISOString()` or `date.getTime()`
 * ```
 */
export class SessionValueError extends SessionError {
  readonly code = 'SESSION_VALUE';

  constructor(
    /** Path of the value, such as `cart.items[2].addedAt`. */
    readonly path: string,
    problem: string,
  ) {
    super(`Session value at ${JSON.stringify(path)} ${problem}`);
  }
}

/**
 * The session would exceed one of the configured limits, or its record twice that limit because other requests wrote at
 * the same time. Nothing was written. The client gets a 413.
 *
 * @example
 * ```ts
 * try {
 *   session.set('draft', text);
 * } catch (error) {
 *   if (error instanceof SessionLimitError) return `${error.actual} characters; ${error.allowed} are allowed.`;
 *   throw error;
 * }
 * ```
 */
export class SessionLimitError extends SessionError {
  readonly code = 'SESSION_LIMIT';

  constructor(
    /** Which of the `limits` was exceeded. */
    readonly limit: 'size' | 'keys' | 'keyLength' | 'depth',
    /** What the limit allows. */
    readonly allowed: number,
    /** What it would have been. */
    readonly actual: number,
    key?: string,
  ) {
    const what = key === undefined ? 'saving this request' : `writing ${JSON.stringify(abbreviate(key))}`;
    super(
      `Session limit "limits.${limit}" is ${allowed}${key === undefined ? ' for a record' : ''}, and ${what} would ` +
        `make it ${actual}. Store less (a reference instead of the whole value), or raise the limit.`,
    );
  }
}

/**
 * The session no longer fits into a cookie, where the cookie engine keeps it. Nothing was sent.
 *
 * @example
 * ```ts
 * await session.save(); // with the cookie engine: throws if the session is larger than a cookie
 * ```
 */
export class SessionCookieTooLargeError extends SessionError {
  readonly code = 'SESSION_COOKIE_TOO_LARGE';

  constructor(
    /** Bytes of a Set-Cookie header that every browser accepts. */
    readonly allowed: number,
    /** The bytes that this one needs. */
    readonly actual: number,
  ) {
    super(
      `The session cookie would take ${actual} bytes, attributes included, but browsers drop cookies of more than ` +
        `${allowed}. Store less in the session, or use an engine that keeps it on the server.`,
    );
  }
}

/**
 * The session was changed after the response had begun, so the change cannot be kept.
 *
 * @example
 * ```ts
 * response.write('first bytes');
 * session.set('visits', 1); // throws: no cookie can be set any more
 * ```
 */
export class SessionCommittedError extends SessionError {
  readonly code = 'SESSION_COMMITTED';
}

/**
 * The store could not be reached or did not answer in time. This never means "no session".
 *
 * @example
 * ```ts
 * // In a store of your own:
 * throw new SessionStoreUnavailableError('load', 'the service did not answer.', { cause });
 * ```
 */
export class SessionStoreUnavailableError extends SessionError {
  readonly code = 'SESSION_STORE_UNAVAILABLE';

  constructor(
    /** The store operation that failed: `load`, `save`, … */
    readonly operation: string,
    problem: string,
    options?: ErrorOptions,
  ) {
    super(`The session store failed to ${operation}: ${problem}`, options);
  }
}

/**
 * A record exists but cannot be read. The session counts as absent, and the record is left alone.
 *
 * @example
 * ```ts
 * // In a store of your own:
 * throw new SessionRecordCorruptError(`The record of session ${id} is not JSON.`);
 * ```
 */
export class SessionRecordCorruptError extends SessionError {
  readonly code = 'SESSION_RECORD_CORRUPT';
}

/**
 * The session ended, expired or got another key elsewhere while this code used it. Nothing was written.
 *
 * @example
 * ```ts
 * try {
 *   await session.save();
 * } catch (error) {
 *   if (error instanceof SessionGoneError) return 'You have been logged out.';
 *   throw error;
 * }
 * ```
 */
export class SessionGoneError extends SessionError {
  readonly code = 'SESSION_GONE';
}

/**
 * A login was refused because the user already has as many sessions as the option `sessionsPerUser` allows.
 *
 * @example
 * ```ts
 * session.login(user.id);
 * await session.save(); // throws if the user has too many sessions and the policy is 'reject'
 * ```
 */
export class SessionsPerUserError extends SessionError {
  readonly code = 'SESSION_TOO_MANY';

  constructor(
    /** How many are allowed. */
    readonly max: number,
  ) {
    super(
      `The user already has ${max} session${max === 1 ? '' : 's'}, the most that the option "sessionsPerUser" allows. ` +
        'End one of them before the login, or choose a policy that does.',
    );
  }
}

/**
 * The engine's store does not support this call.
 *
 * @example
 * ```ts
 * await sessions.listByUser('42'); // throws with the cookie engine
 * ```
 */
export class SessionUnsupportedError extends SessionError {
  readonly code = 'SESSION_UNSUPPORTED';
}

function abbreviate(key: string): string {
  return key.length > 64 ? `${key.slice(0, 64)}…` : key;
}

/** The first line of a stack that is the application's own, if there is one. */
function callSite(stack: string | undefined): string[] {
  const places = (stack ?? '').split('\n').filter((line) => /^\s+at .+:\d+:\d+\)?$/.test(line));
  return places.filter((line) => !/node:|[\\/]node_modules[\\/]/.test(line)).slice(0, 1);
}
