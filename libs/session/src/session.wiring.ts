import { Logger } from '@nestjs/common';
import { cookieOverhead } from './http/cookie-header.js';
import { presentedKeys } from './http/presented-keys.js';
import { type HttpEnvironment } from './http/request-session.js';
import { Sessions } from './management/sessions.js';
import { type SessionObserver } from './observability/session-observer.js';
import { type ResolvedSessionOptions } from './options/resolve-options.js';
import { SessionConfigError } from './session.errors.js';
import { policyOf } from './session/expiry.js';
import { OldSessions } from './session/old-session.js';
import { ReplacedTokens } from './session/replaced-tokens.js';
import { SealedTokens } from './session/sealed-tokens.js';
import { type SessionEnvironment } from './session/session-environment.js';
import { keyHasher } from './session/session-key.js';
import { StoreGuard, TimeLimit } from './session/store-guard.js';
import { StoredTokens } from './session/token-store.js';
import { limitSessions, listsUsers } from './session/user-sessions.js';
import { SessionSealer } from './stores/session-sealer.js';
import { type SessionStore } from './stores/session-store.js';

/** What is made of the engine's store or sealer, the options and the observer, once per application. */
export interface Wiring {
  http: HttpEnvironment;
  sessions: Sessions;
}

/** @throws SessionConfigError when an option asks for something that the engine cannot do */
export function wire(
  backend: SessionStore | SessionSealer,
  options: ResolvedSessionOptions,
  observer: SessionObserver,
): Wiring {
  checkAbilities(backend, options);
  const logger = new Logger('Sessions');
  for (const warning of options.warnings) logger.warn(warning);
  // The secrets of the pepper go no further: what requests can reach holds only keys made of them, out of sight.
  const { application, pepper, sessionsPerUser, accept, storeTimeout, ...rules } = options;
  const now = (): number => backend.now();
  const { observeStore: observe } = observer;
  let guard: StoreGuard | null = null;
  let tokens: SessionEnvironment['tokens'];
  if (backend instanceof SessionSealer) {
    tokens = new SealedTokens(backend, {
      // No name of a cookie has a slash in it.
      purpose: application === '' ? rules.cookie.name : `${application}/${rules.cookie.name}`,
      overhead: cookieOverhead(rules.cookie.name, rules.cookie),
      timeLimit: new TimeLimit(storeTimeout, observe),
      policyOf: (record) => policyOf(record, rules),
    });
  } else {
    backend.limits = { size: 2 * rules.limits.size, keys: 2 * rules.limits.keys };
    backend.timeLimit = storeTimeout;
    guard = new StoreGuard(backend, { timeLimit: storeTimeout, observe });
    tokens = new StoredTokens(guard, keyHasher(pepper, application), now);
  }
  const environment: SessionEnvironment = {
    ...rules,
    tokens,
    replacedTokens: new ReplacedTokens(now),
    touchesRestUntil: 0,
    now,
    emit: observer.emit,
    advise: process.env['NODE_ENV'] === 'production' ? undefined : (advice) => logger.warn(advice),
  };
  if (sessionsPerUser && guard) environment.afterLogin = limitSessions(guard, environment, sessionsPerUser);
  return {
    http: {
      options: rules,
      logger,
      sessions: environment,
      oldSessions: accept && new OldSessions(accept, new TimeLimit(storeTimeout, observe)),
    },
    sessions: new Sessions(backend, environment, guard, (request) => presentedKeys(request, rules)),
  };
}

function checkAbilities(
  backend: SessionStore | SessionSealer,
  { renewAfter, sessionsPerUser, pepper, accept, cookie, currentStamp }: ResolvedSessionOptions,
): void {
  const isSealer = backend instanceof SessionSealer;
  const needsServer =
    'needs an engine that keeps sessions on the server. Choose another engine, or leave it out.';
  const problems = [
    [isSealer && renewAfter !== null, 'renewAfter', needsServer],
    [
      isSealer && pepper,
      'pepper',
      'is for engines that keep sessions on the server. Leave it out: the secrets of the cookie engine do the same.',
    ],
    [isSealer && accept, 'accept', needsServer],
    [
      accept?.tellsStamps && !currentStamp,
      'accept.stamp',
      'is compared with the option "currentStamp", which is missing. Add that, or leave this out.',
    ],
    [
      accept?.cookie.name === cookie.name,
      'cookie.name',
      'is also the name of the old cookie, and a browser sends only one of them. Choose another name.',
    ],
    [
      sessionsPerUser && (isSealer || !listsUsers(backend)),
      'sessionsPerUser',
      `needs an engine that lists a user's sessions, and ${backend.constructor.name} does not. Choose another, or leave it out.`,
    ],
  ] as const;
  for (const [applies, option, sentence] of problems)
    if (applies) throw new SessionConfigError(option, sentence);
}
