import {
  type DynamicModule,
  type FactoryProvider,
  type INestApplicationContext,
  Inject,
  Logger,
  type MiddlewareConsumer,
  Module,
  type ModuleMetadata,
  type NestModule,
  type OnApplicationShutdown,
  type Provider,
  type Type,
} from '@nestjs/common';
import {
  APP_FILTER,
  type AbstractHttpAdapter,
  type ApplicationConfig,
  ExternalContextCreator,
  HttpAdapterHost,
  ModuleRef,
  ModulesContainer,
} from '@nestjs/core';
import { createSessionMiddleware, type SessionMiddleware } from './http/session-middleware.js';
import { type HttpEnvironment } from './http/request-session.js';
import { ClearExpiredJob } from './management/clear-expired.job.js';
import { Sessions } from './management/sessions.js';
import { SESSIONS, HTTP_ENVIRONMENT, SESSION_OPTIONS } from './session.tokens.js';
import { makePlaces } from './nest/express.js';
import { decorateFastify, type FastifyInstance, hookIntoFastify } from './nest/fastify.js';
import { SessionErrorFilter } from './nest/session-error.filter.js';
import { SessionGuard } from './nest/session.guard.js';
import { prepareFields, prepareHandlers } from './nest/session-loader.guard.js';
import { leaveSockets, rememberHandshakes, serveSockets } from './nest/sockets.js';
import { SessionObserver } from './observability/session-observer.js';
import { SessionConfigError } from './session.errors.js';
import { resolveOptions, type ResolvedSessionOptions } from './options/resolve-options.js';
import { type SessionOptions } from './session.options.js';
import { wire, type Wiring } from './session.wiring.js';
import { type SessionEngine } from './stores/session-engine.js';
import { SessionSealer } from './stores/session-sealer.js';
import { SessionStore } from './stores/session-store.js';

/** An engine such as `databaseEngine()`, or your own store class, which Nest instantiates. */
export type Engine = SessionEngine | Type<SessionStore>;

/** What `SessionModule.forRootAsync` takes: an engine, and a factory of the options. */
export interface SessionModuleAsyncOptions {
  /** Default: the database engine on the default data source. */
  engine?: Engine;
  /** Modules that export what the factory injects. */
  imports?: NonNullable<ModuleMetadata['imports']>;
  /** Tokens of the factory's arguments, in this order. */
  inject?: NonNullable<FactoryProvider['inject']>;
  /** Returns the options, or a promise of them. */
  useFactory: FactoryProvider<SessionOptions>['useFactory'];
}

// Private to this module, hence no tokens that another copy of it could find.
const WIRING = Symbol('nest-sessions:wiring');
/** What the engine has made. */
const MADE = Symbol('nest-sessions:made');
/** What keeps the sessions: the store, or the sealer. */
const BACKEND = Symbol('nest-sessions:backend');

/** One per application. */
const applications = new WeakSet<HttpAdapterHost>();

/** Applications whose middleware was mounted by `mountSessions`, and must not be mounted again. */
const mounted = new WeakSet<AbstractHttpAdapter>();

/**
 * Sessions for the whole application with one import. The module is global: `Sessions` and `SessionGuard` can be injected
 * everywhere.
 *
 * @example
 * ```ts
 * @Module({ imports: [TypeOrmModule.forRoot({ … , autoLoadEntities: true }), SessionModule.forRoot(databaseEngine())] })
 * export class AppModule {}
 * ```
 */
@Module({})
export class SessionModule implements NestModule, OnApplicationShutdown {
  private readonly middleware: SessionMiddleware;

  /** @internal */
  constructor(
    private readonly adapterHost: HttpAdapterHost,
    @Inject(BACKEND) private readonly backend: SessionStore | SessionSealer,
    @Inject(HTTP_ENVIRONMENT) private readonly environment: HttpEnvironment,
    modules: ModulesContainer,
    moduleRef: ModuleRef,
    contextCreator: ExternalContextCreator,
  ) {
    if (applications.has(adapterHost)) {
      throw new SessionConfigError(
        'engine',
        'is given twice: two modules of this application import SessionModule.forRoot(), but a request can have ' +
          'only one session. Import it once, in the root module; it is global.',
      );
    }
    applications.add(adapterHost);
    decoratePlatform(adapterHost);
    this.middleware = createSessionMiddleware(environment);
    const { httpAdapter } = adapterHost as Partial<HttpAdapterHost>;
    // Sessions that are loaded ahead of everything else come where they are mounted, perhaps behind a limit of requests.
    if (httpAdapter?.getType() === 'fastify' && environment.options.loading !== 'eager') {
      if (hookIntoFastify(httpAdapter.getInstance<FastifyInstance>(), this.middleware))
        mounted.add(httpAdapter);
    }
    // Nest makes gateways before it calls `configure`.
    prepareHandlers(modules);
    prepareFields(contextCreator);
    rememberHandshakes(configOf(moduleRef), environment);
  }

  /**
   * @param engine where sessions are kept; default: the database engine on the default data source
   * @param options all other options, with defaults for each
   * @throws SessionConfigError that names the wrong option
   *
   * @example
   * ```ts
   * SessionModule.forRoot(redisEngine({ url }), { idleTimeout: '30m', absoluteTimeout: '12h' })
   * ```
   */
  static forRoot(engine?: undefined, options?: SessionOptions): Promise<DynamicModule>;
  static forRoot(engine: Engine, options?: SessionOptions): DynamicModule;
  static forRoot(engine?: Engine, options?: SessionOptions): DynamicModule | Promise<DynamicModule> {
    const resolved = resolveOptions(options);
    return assemble(engine, { provide: SESSION_OPTIONS, useValue: resolved });
  }

  /**
   * Like `forRoot`, with options from a factory. The engine stays outside the factory, because it may import modules and
   * Nest needs those at once.
   * @throws SessionConfigError that names the wrong option, when the application starts
   *
   * @example
   * ```ts
   * SessionModule.forRootAsync({
   *   engine: databaseEngine(),
   *   inject: [ConfigService],
   *   useFactory: (config: ConfigService) => ({ idleTimeout: config.getOrThrow('IDLE_TIMEOUT') }),
   * })
   * ```
   */
  static forRootAsync(options: SessionModuleAsyncOptions & { engine: Engine }): DynamicModule;
  static forRootAsync(options: SessionModuleAsyncOptions): Promise<DynamicModule>;
  static forRootAsync(options: SessionModuleAsyncOptions): DynamicModule | Promise<DynamicModule> {
    const { engine, imports = [], inject = [], useFactory } = options;
    const provider: FactoryProvider<ResolvedSessionOptions> = {
      provide: SESSION_OPTIONS,
      inject,
      useFactory: async (...dependencies: Parameters<typeof useFactory>) =>
        resolveOptions(await useFactory(...dependencies)),
    };
    return assemble(engine, provider, imports);
  }

  /**
   * Mounts the middleware below everything else in Nest: it covers all paths, even unknown ones, whatever the global
   * prefix, and runs before the middleware of every module.
   */
  configure(_consumer: MiddlewareConsumer): void {
    const { httpAdapter } = this.adapterHost;
    // Testing modules get their adapter only when everything has been constructed.
    decoratePlatform(this.adapterHost);
    if (!mounted.has(httpAdapter)) httpAdapter.use(this.middleware);
    serveSockets(httpAdapter.getHttpServer() as object | undefined, this.environment);
  }

  /** Closes what the engine has opened. Nest calls this; applications do not. */
  async onApplicationShutdown(): Promise<void> {
    leaveSockets(this.environment);
    await this.backend.close();
  }
}

/**
 * Mounts the session middleware now, before the middleware that `main.ts` mounts. You only need it if that middleware
 * reads the session, as `passport.session()` does; also set `loading: 'eager'` then. In tests of a Fastify application,
 * call it before you register plugins that need `request.session`.
 *
 * @example
 * ```ts
 * const app = await NestFactory.create(AppModule);
 * mountSessions(app);
 * app.use(passport.session());
 * ```
 */
export function mountSessions(app: INestApplicationContext): void {
  const adapterHost = app.get(HttpAdapterHost);
  const { httpAdapter } = adapterHost;
  if (mounted.has(httpAdapter)) return;
  // In a testing module nothing has done so yet, and plugins look for `request.session` when they are registered.
  decoratePlatform(adapterHost);
  mounted.add(httpAdapter);
  httpAdapter.use(createSessionMiddleware(app.get<HttpEnvironment>(HTTP_ENVIRONMENT)));
}

function decoratePlatform({ httpAdapter }: { httpAdapter?: AbstractHttpAdapter }): void {
  if (httpAdapter?.getType() === 'fastify') decorateFastify(httpAdapter.getInstance<FastifyInstance>());
  if (httpAdapter?.getType() === 'express')
    makePlaces(httpAdapter.getHttpServer() as Parameters<typeof makePlaces>[0]);
}

/** Nest hands it to no provider. It has the adapter of the gateways. */
function configOf(moduleRef: ModuleRef): ApplicationConfig | undefined {
  return (moduleRef as unknown as { container?: { applicationConfig?: ApplicationConfig } }).container
    ?.applicationConfig;
}

function assemble(
  engine: Engine | undefined,
  options: Provider,
  imports: NonNullable<ModuleMetadata['imports']> = [],
): DynamicModule | Promise<DynamicModule> {
  if (engine) return moduleOf(engine, options, imports);
  // Imported at the last moment, so that applications with another engine need no TypeORM.
  return import('./stores/database/index.js').then(
    ({ databaseEngine }) => moduleOf(databaseEngine(), options, imports),
    explainMissingPackage,
  );
}

function explainMissingPackage(error: Error & { code?: string }): never {
  if (error.code !== 'ERR_MODULE_NOT_FOUND' && error.code !== 'MODULE_NOT_FOUND') throw error;
  throw new SessionConfigError(
    'engine',
    'is missing, and the default engine needs packages that are not installed. Run npm install @nestjs/typeorm typeorm ' +
      'and the driver of your database, or name another engine.',
  );
}

function moduleOf(
  engine: Engine,
  options: Provider,
  imports: NonNullable<ModuleMetadata['imports']>,
): DynamicModule {
  const made: Provider<SessionStore | SessionSealer> =
    typeof engine === 'function'
      ? { provide: MADE, useClass: engine }
      : { provide: MADE, inject: engine.inject ?? [], useFactory: engine.useFactory };
  return {
    module: SessionModule,
    global: true,
    imports: [...imports, ...(typeof engine === 'function' ? [] : (engine.imports ?? []))],
    providers: [
      options,
      made,
      { provide: SessionStore, inject: [MADE], useFactory: onlyA(SessionStore) },
      { provide: SessionSealer, inject: [MADE], useFactory: onlyA(SessionSealer) },
      {
        // From the two public tokens, so that tests can override them.
        provide: BACKEND,
        inject: [SessionStore, SessionSealer],
        useFactory: backendOf,
      },
      {
        provide: SessionObserver,
        inject: [ModuleRef, SESSION_OPTIONS],
        useFactory: (moduleRef: ModuleRef, { clearExpired }: ResolvedSessionOptions) =>
          SessionObserver.open(moduleRef, new Logger('Sessions'), clearExpired !== false),
      },
      { provide: WIRING, inject: [BACKEND, SESSION_OPTIONS, SessionObserver], useFactory: wire },
      { provide: HTTP_ENVIRONMENT, inject: [WIRING], useFactory: ({ http }: Wiring) => http },
      { provide: Sessions, inject: [WIRING], useFactory: ({ sessions }: Wiring) => sessions },
      { provide: SESSIONS, useExisting: Sessions },
      {
        provide: ClearExpiredJob,
        inject: [BACKEND, SESSION_OPTIONS, ModuleRef, SessionObserver],
        useFactory: (
          store: SessionStore | SessionSealer,
          { clearExpired }: ResolvedSessionOptions,
          moduleRef: ModuleRef,
          { emit }: SessionObserver,
        ) => new ClearExpiredJob(store, clearExpired, moduleRef, emit),
      },
      SessionGuard,
      { provide: APP_FILTER, useClass: SessionErrorFilter },
    ],
    exports: [
      SessionStore,
      SessionSealer,
      Sessions,
      SESSIONS,
      SessionGuard,
      SessionObserver,
      HTTP_ENVIRONMENT,
    ],
  };
}

function backendOf(store: SessionStore | null, sealer: SessionSealer | null): SessionStore | SessionSealer {
  const backend = store ?? sealer;
  if (backend) return backend;
  throw new SessionConfigError(
    'engine',
    'has made no session store. Give what an engine function returns, databaseEngine() and not databaseEngine, or a ' +
      'class that extends SessionStore.',
  );
}

/** What the engine made, when it is of this kind; else null. */
function onlyA<Kind>(kind: abstract new (...parameters: never[]) => Kind): (backend: unknown) => Kind | null {
  return (backend) => (backend instanceof kind ? backend : null);
}
