import { SessionConfigError } from '../../session.errors.js';
import { checkSecrets } from '../secrets.js';
import { type EngineFactory, type SessionEngine } from '../session-engine.js';
import { SessionStore } from '../session-store.js';
import { CookieSealer, type CookieSealerOptions } from './cookie-sealer.js';
import { RevocationRecords } from './revocation-records.js';
import { type RevocationStore } from './revocation-store.js';

/** What `cookieEngine` takes. Only `secrets` is required. */
export interface CookieEngineOptions extends Omit<CookieSealerOptions, 'revocations'> {
  /**
   * Where to record ended sessions, so that a logout holds against copies of the cookie: another engine, such as
   * `redisEngine({ url })`, or your own store. Each load of a session asks it once or twice.
   * @default nowhere: a copy of a cookie works until it expires
   */
  revocations?: SessionEngine | RevocationStore;
}

/** Options from a factory, if something has to be injected. */
export interface CookieEngineFactory extends EngineFactory<CookieSealerOptions> {
  /**
   * Where to record ended sessions: an engine that keeps sessions on the server.
   * @default nowhere: a copy of a cookie works until it expires
   */
  revocations?: SessionEngine;
}

/**
 * Keeps sessions in the cookie itself, encrypted or only signed. Nothing is on the server.
 *
 * @example
 * ```ts
 * SessionModule.forRoot(cookieEngine({ secrets: process.env.SESSION_SECRETS.split(' ') }))
 * ```
 * @throws SessionConfigError if a secret is short or well known: at once, or at the start if it comes from a factory
 */
export function cookieEngine(given: CookieEngineOptions | CookieEngineFactory): SessionEngine {
  if ('useFactory' in given) {
    const { useFactory, revocations, ...wiring } = given;
    return withRevocations(revocations, wiring, useFactory);
  }
  const { revocations, ...options } = given;
  checkSecrets(options.secrets);
  if (revocations === undefined || 'useFactory' in revocations) {
    return withRevocations(revocations, {}, () => options);
  }
  return { useFactory: () => new CookieSealer({ ...options, revocations }) };
}

type Options = CookieSealerOptions | Promise<CookieSealerOptions>;

/** The wiring of both: what the options need is injected first, what the store of revocations needs comes after it. */
function withRevocations(
  engine: SessionEngine | undefined,
  { imports = [], inject = [] }: Pick<SessionEngine, 'imports' | 'inject'>,
  optionsFrom: (...dependencies: unknown[]) => Options,
): SessionEngine {
  return {
    imports: [...imports, ...(engine?.imports ?? [])],
    inject: [...inject, ...(engine?.inject ?? [])],
    useFactory: async (...dependencies: unknown[]) => {
      const options = await optionsFrom(...dependencies.slice(0, inject.length));
      // Before the other store is opened, which nobody would close.
      checkSecrets(options.secrets);
      if (!engine) return new CookieSealer(options);
      const records = await engine.useFactory(...dependencies.slice(inject.length));
      if (!(records instanceof SessionStore)) {
        throw new SessionConfigError('revocations', 'must be an engine that keeps records on the server.');
      }
      return new CookieSealer({ ...options, revocations: new RevocationRecords(records) });
    },
  };
}
