import { Logger } from '@nestjs/common';
import { cookieOverhead } from './http/cookie-header.js';
import { type HttpEnvironment } from './http/request-session.js';
import { Sessions } from './management/sessions.js';
import { type SessionObserver } from './observability/session-observer.js';
import { SessionConfigError } from './session.errors.js';
import { type ResolvedSessionOptions } from './session.options.js';
import { keyedKeeper } from './session/keyed-keeper.js';
import { type RecordKeeper } from './session/record-keeper.js';
import { sealedKeeper } from './session/sealed-keeper.js';
import { type SessionEnvironment } from './session/session-environment.js';
import { pepperedStoreKeys, plainStoreKeys, type StoreKeys } from './session/session-key.js';
import { limitSessions } from './session/session-limit.js';
import { keyedProbes, sealedProbes } from './session/session-probe.js';
import { limitStore } from './session/store-access.js';
import { knowsUsers, limitForeignAccess } from './session/user-sessions.js';
import { watchStore } from './session/watched-store.js';
import { SealingStore } from './stores/sealing-store.js';
import { type SessionStore } from './stores/session-store.js';

/** What is made of store, options and observer, once per application. */
export interface Wiring {
  http: HttpEnvironment;
  sessions: Sessions;
}

/** @throws SessionConfigError when an option asks for something that the store cannot do */
export function wire(
  store: SessionStore,
  options: ResolvedSessionOptions,
  observer: SessionObserver,
): Wiring {
  checkAbilities(store, options);
  const logger = new Logger('Sessions');
  for (const concession of options.concessions) logger.warn(concession);
  const { pepper, sessionsPerUser, storeTimeout } = options;
  const keys = pepper ? pepperedStoreKeys(pepper) : plainStoreKeys;
  const environment: SessionEnvironment = {
    keeper: keeperOf(store, options, keys, observer),
    policy: options.policy,
    rememberedPolicy: options.rememberedPolicy,
    limits: options.limits,
    cookie: options.cookie,
    saveEveryRequest: options.saveEveryRequest,
    renewAfter: options.renewAfter,
    onReuse: options.onReuse,
    login: options.login,
    currentStamp: options.currentStamp,
    touchesRestUntil: 0,
    now: () => store.now(),
    emit: observer.emit,
    advise: process.env['NODE_ENV'] === 'production' ? undefined : (advice) => logger.warn(advice),
  };
  const access = watchStore(limitForeignAccess(store, storeTimeout), observer.observeStore);
  if (sessionsPerUser) environment.afterLogin = limitSessions(access, environment, sessionsPerUser);
  const probes =
    store instanceof SealingStore
      ? sealedProbes(environment.keeper, environment)
      : keyedProbes(access, keys, environment);
  return {
    http: { options, logger, sessions: environment },
    sessions: new Sessions(store, environment, access, probes),
  };
}

function checkAbilities(store: SessionStore, { renewAfter, sessionsPerUser }: ResolvedSessionOptions): void {
  if (renewAfter !== null && !store.remembersMoves) {
    throw new SessionConfigError(
      'renewAfter',
      `needs an engine that remembers moved keys, and ${store.constructor.name} does not. Choose another, or leave it out.`,
    );
  }
  if (sessionsPerUser && !knowsUsers(store)) {
    throw new SessionConfigError(
      'sessionsPerUser',
      `needs an engine that lists a user's sessions, and ${store.constructor.name} does not. Choose another, or leave it out.`,
    );
  }
}

function keeperOf(
  store: SessionStore,
  { cookie, storeTimeout }: ResolvedSessionOptions,
  keys: StoreKeys,
  { observeStore }: SessionObserver,
): RecordKeeper {
  const now = (): number => store.now();
  if (!(store instanceof SealingStore)) {
    return keyedKeeper(watchStore(limitStore(store, storeTimeout), observeStore), { now, keys });
  }
  const overhead = cookieOverhead(cookie.name, cookie);
  return sealedKeeper(store, { purpose: cookie.name, overhead, timeLimit: storeTimeout, now });
}
