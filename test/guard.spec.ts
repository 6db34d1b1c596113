import {
  type ArgumentsHost,
  type CanActivate,
  Catch,
  Controller,
  Delete,
  type ExceptionFilter,
  type ExecutionContext,
  Get,
  HttpException,
  Injectable,
  type INestApplication,
  type MiddlewareConsumer,
  Module,
  NotFoundException,
  Param,
  type PipeTransform,
  Post,
  Req,
  Res,
  Session as NestSession,
  UseGuards,
  VersioningType,
} from '@nestjs/common';
import { APP_FILTER, HttpAdapterHost } from '@nestjs/core';
import { Test } from '@nestjs/testing';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { TypeOrmModule } from '@nestjs/typeorm';
import supertest from 'supertest';
import {
  mountSessions,
  RequireSession,
  Session,
  SessionGuard,
  SessionModule,
  type SessionOptions,
  type SessionRecord,
  Sessions,
  SessionStore,
} from 'nest-sessions';
import { databaseEngine } from 'nest-sessions/database';
import { memoryEngine } from 'nest-sessions/memory';
import { type AppSetup, type Platform, platforms, type RunningApp, startApp } from './support/app.js';
import { sessionKeyIn } from './support/database-app.js';

interface Visit {
  cartId: number;
  vip: boolean;
  count: number;
}

/** As much of Fastify as a plugin needs here. */
interface FastifyInstance {
  addHook(name: 'preValidation', hook: (request: { session: Session<Visit> }) => Promise<void>): void;
}

type AnyRequest = { session: Session<Visit>; raw?: { session: Session<Visit> } };

@Injectable()
class Shelf {
  readonly records = new Map<string, SessionRecord>();
}

/** A store of the application's own, which Nest builds with what it injects. */
@Injectable()
class ShelfStore extends SessionStore {
  closed = 0;

  constructor(readonly shelf: Shelf) {
    super();
  }

  async load(key: string): Promise<SessionRecord | null> {
    return structuredClone(this.shelf.records.get(key)) ?? null;
  }

  async create(key: string, record: SessionRecord): Promise<boolean> {
    return !this.shelf.records.has(key) && Boolean(this.shelf.records.set(key, record));
  }

  async save(key: string, keyHash: string, _changes: object, record: SessionRecord): Promise<boolean> {
    if (this.shelf.records.get(key)?.keyHash !== keyHash) return false;
    this.shelf.records.set(key, record);
    return true;
  }

  async delete(key: string): Promise<boolean> {
    return this.shelf.records.delete(key);
  }

  override async close(): Promise<void> {
    this.closed += 1;
  }
}

@Module({ providers: [Shelf], exports: [Shelf] })
class ShelfModule {}

const shelfEngine = {
  imports: [ShelfModule],
  inject: [Shelf],
  useFactory: (shelf: Shelf) => new ShelfStore(shelf),
};

@Controller()
class DoorController {
  @Post('login')
  login(@Session() session: Session<Visit>) {
    session.login('ada');
  }

  @Post('set/:key/:value')
  set(@Session() session: Session<Visit>, @Param('key') key: 'cartId', @Param('value') value: string) {
    session.set(key, JSON.parse(value) as number);
  }

  @Get('count')
  count(@Session() session: Session<Visit>) {
    return { count: session.increment('count') };
  }
}

@Controller('members')
@UseGuards(SessionGuard)
class MembersController {
  @Get()
  index(@Session('userId') userId: string) {
    return { userId };
  }

  @Get('cart')
  @RequireSession('cartId')
  cart(@Session('cartId') cartId: number, @Session('vip') vip?: boolean) {
    return { cartId, vip: vip ?? 'unknown' };
  }

  @Get('both')
  @RequireSession('cartId', { keys: ['vip'], redirectTo: '/login?next=/members/both' })
  both() {
    return 'both';
  }

  @Delete('cart')
  @RequireSession({ redirectTo: '/login' })
  remove() {
    return 'removed';
  }
}

@Controller('shop')
@UseGuards(SessionGuard)
@RequireSession({ keys: ['cartId'], redirectTo: '/cart' })
class ShopController {
  @Get()
  index() {
    return 'shop';
  }

  @Get('checkout')
  @RequireSession()
  checkout() {
    return 'checkout';
  }
}

const running: { close(): Promise<void> }[] = [];
const start = async (platform: Platform, setup: Partial<AppSetup> = {}): Promise<RunningApp> => {
  const site = await startApp(platform, {
    engine: shelfEngine,
    controllers: [DoorController, MembersController, ShopController],
    ...setup,
  });
  running.push(site);
  return site;
};
const quiet = (app: INestApplication): void => app.useLogger(false);

const sqlite = () => TypeOrmModule.forRoot({ type: 'sqljs', autoLoadEntities: true, synchronize: true });
const off: SessionOptions = { clearExpired: false };

describe.each(platforms)('on %s', (platform) => {
  afterEach(() => Promise.all(running.splice(0).map((app) => app.close())));

  /** An application of these modules, on a free port that supertest chooses. */
  const startModules = async (...imports: NonNullable<AppSetup['imports']>) => {
    const testing = await Test.createTestingModule({ imports, controllers: [DoorController] }).compile();
    const app = testing.createNestApplication(
      platform === 'fastify' ? new FastifyAdapter() : new ExpressAdapter(),
      { logger: ['error'] },
    );
    await app.listen(0, '127.0.0.1');
    running.push(app);
    return { app, browser: supertest.agent(app.getHttpServer()) };
  };

  describe('SessionGuard', () => {
    it('lets those pass who are logged in, and nobody else', async () => {
      const site = await start(platform);
      const browser = site.browser();
      await browser.get('/members').expect(401, { message: 'Unauthorized', statusCode: 401 });
      await browser.post('/set/cartId/1');
      await browser.get('/members').expect(401);
      await browser.post('/login');
      await browser.get('/members').expect(200, { userId: 'ada' });
      const forged = await site.request.get('/members').set('Cookie', `sessionid=${'x'.repeat(43)}`);
      expect(forged.status).toBe(401);
    });

    it('asks for the named values instead, on the route', async () => {
      const browser = (await start(platform)).browser();
      await browser.post('/login');
      await browser.get('/members/cart').expect(401);
      for (const missing of ['null', 'false']) {
        await browser.post(`/set/cartId/${missing}`);
        await browser.get('/members/cart').expect(401);
      }
      await browser.post('/set/cartId/0');
      expect((await browser.get('/members/cart')).body).toEqual({ cartId: 0, vip: 'unknown' });
    });

    it('redirects where the route says so, when any of the values is missing', async () => {
      const browser = (await start(platform)).browser();
      const redirect = await browser.get('/members/both').expect(302);
      expect(redirect.headers['location']).toBe('/login?next=/members/both');
      // What the platform itself sends with a redirect.
      expect(redirect.text).toBe(
        platform === 'express' ? 'Found. Redirecting to /login?next=/members/both' : '',
      );
      await browser.post('/set/cartId/1');
      await browser.get('/members/both').expect(302);
      await browser.post('/set/vip/true');
      await browser.get('/members/both').expect(200, 'both');
      expect((await browser.delete('/members/cart').expect(302)).get('Location')).toBe('/login');
    });

    it('takes what the controller says, unless the route says something itself', async () => {
      const browser = (await start(platform)).browser();
      await browser.get('/shop').expect(302).expect('Location', '/cart');
      await browser.get('/shop/checkout').expect(401);
      await browser.post('/set/cartId/1');
      await browser.get('/shop').expect(200);
      await browser.get('/shop/checkout').expect(401);
      await browser.post('/login');
      expect((await browser.get('/shop/checkout')).text).toBe('checkout');
    });

    it('can be taught to demand more', async () => {
      class VipGuard extends SessionGuard {
        protected override satisfies(session: Session): boolean {
          return session.userId === 'ada' && session.get('vip') === true;
        }
      }
      @Controller('vip')
      @UseGuards(VipGuard)
      class VipController {
        @Get()
        index() {
          return 'welcome';
        }
      }
      const browser = (await start(platform, { controllers: [DoorController, VipController] })).browser();
      await browser.post('/login');
      await browser.get('/vip').expect(401);
      await browser.post('/set/vip/true');
      expect((await browser.get('/vip')).text).toBe('welcome');
    });

    // The handler of this path takes no session, so it is the guard alone that stands in the way.
    it('lets nobody pass where the path has no session', async () => {
      const site = await start(platform, { options: { exclude: ['/shop/checkout'] }, prepare: quiet });
      const browser = site.browser();
      await browser.post('/login');
      const refused = await browser.get('/shop/checkout');
      expect([refused.status, refused.text]).toEqual([500, expect.not.stringContaining('checkout')]);
    });

    it('lets nobody pass on the strength of somebody else’s session', async () => {
      const site = await start(platform, {
        prepare: (app) => {
          quiet(app);
          app.use((raw: { session?: unknown }, _response: unknown, next: () => void) => {
            raw.session = { userId: 'ada', get: () => 1 };
            next();
          });
        },
      });
      const refused = await site.request.get('/shop/checkout');
      // On Fastify ours was there first, and is no more; on Express theirs was.
      const status = platform === 'fastify' ? 401 : 500;
      expect([refused.status, refused.text]).toEqual([status, expect.not.stringContaining('checkout')]);
    });
  });

  describe('one session, however it is reached', () => {
    it('is the same object by both decorators and on the request', async () => {
      @Controller()
      class SameController {
        @Get('same')
        same(
          @Session() ours: Session<Visit>,
          @NestSession() nests: Session<Visit>,
          @Req() { session, raw }: AnyRequest,
          @Session('count') count: number | undefined,
        ) {
          return {
            same: ours === nests && ours === session && (!raw || raw.session === ours),
            count: count ?? 0,
          };
        }

        @Post('nests')
        nests(@NestSession() session: Session<Visit>) {
          session.count = (session.count ?? 0) + 1;
        }

        @Post('request')
        async request(@Req() { session }: AnyRequest) {
          await session.load();
          session.increment('count');
        }
      }
      const browser = (await start(platform, { controllers: [SameController] })).browser();
      await browser.get('/same').expect(200, { same: true, count: 0 });
      await browser.post('/nests').expect(201);
      await browser.post('/request').expect(201);
      expect((await browser.get('/same')).body).toEqual({ same: true, count: 2 });
    });

    it('F2: is there for guards, pipes and filters', async () => {
      class CountingGuard implements CanActivate {
        async canActivate(context: ExecutionContext): Promise<boolean> {
          const { session } = context.switchToHttp().getRequest<AnyRequest>();
          return (await session.load()).increment('count') > 0;
        }
      }
      class CountPipe implements PipeTransform<Session<Visit>, number> {
        transform(session: Session<Visit>): number {
          return session.increment('count');
        }
      }
      @Catch(NotFoundException)
      class CountingFilter implements ExceptionFilter {
        constructor(private readonly host: HttpAdapterHost) {}
        async catch(_error: HttpException, context: ArgumentsHost): Promise<void> {
          const http = context.switchToHttp();
          const count = (await http.getRequest<AnyRequest>().session.load()).increment('count');
          this.host.httpAdapter.reply(http.getResponse(), { count }, 404);
        }
      }
      @Controller('all')
      @UseGuards(CountingGuard)
      class AllController {
        @Get()
        all(@Session(new CountPipe()) count: number) {
          return { count };
        }
      }
      const site = await start(platform, {
        controllers: [AllController],
        providers: [{ provide: APP_FILTER, useClass: CountingFilter }],
      });
      const browser = site.browser();
      await browser.get('/all').expect(200, { count: 2 });
      // A path that nobody knows has a session, too.
      await browser.get('/nowhere').expect(404, { count: 3 });
      expect((await browser.post('/all')).body).toEqual({ count: 4 });
    });

    it('says what to do when it is touched before it was loaded', async () => {
      const told: unknown[] = [];
      @Controller()
      class EarlyController {
        @Get('early')
        early(@Req() { session }: AnyRequest) {
          for (const touch of [
            () => session.count,
            () => session.get('count'),
            () => 'count' in session,
            () => (session.count = 1),
            () => delete session.count,
            () => session.userId,
            () => ({ ...session }),
            () => session.flush(),
          ]) {
            try {
              touch();
              told.push('nothing');
            } catch (error) {
              told.push((error as Error).message);
            }
          }
          return 'done';
        }
      }
      const site = await start(platform, { controllers: [EarlyController] });
      const answer = await site.request.get('/early').expect(200, 'done');
      expect(answer.get('Set-Cookie')).toBeUndefined();
      expect(new Set(told).size).toBe(1);
      expect(told[0]).toMatch(/before it was loaded.*@Session\(\).*session\.load\(\).*loading: 'eager'/);
    });

    it('is loaded ahead of middleware that cannot wait, when loading is eager', async () => {
      @Module({})
      class CountingModule {
        configure(consumer: MiddlewareConsumer): void {
          consumer
            .apply(
              (
                { session }: AnyRequest,
                response: { setHeader(name: string, value: number): void },
                next: () => void,
              ) => {
                session.count = (session.count ?? 0) + 1;
                response.setHeader('X-Count', session.count);
                next();
              },
            )
            .forRoutes('*path');
        }
      }
      @Controller()
      class IdleController {
        @Get('idle')
        idle(@Res({ passthrough: true }) _response: unknown) {
          return 'idle';
        }
      }
      const site = await start(platform, {
        controllers: [IdleController],
        imports: [CountingModule],
        options: { loading: 'eager' },
      });
      const browser = site.browser();
      for (const count of [1, 2, 3]) {
        expect((await browser.get('/idle').expect(200)).get('X-Count')).toBe(`${count}`);
      }
    });
  });

  describe('F72: the paths of an application', () => {
    it('leaves out those that are excluded, and only those', async () => {
      @Controller()
      class PathsController {
        @Get(['health', 'assets/style.css', 'assets', 'healthy'])
        look(@Req() request: AnyRequest) {
          return { has: 'session' in (request.raw ?? request) };
        }
      }
      const site = await start(platform, {
        controllers: [PathsController],
        options: { exclude: ['/health', '/assets/*path'] },
      });
      for (const path of ['/health', '/health?full=1', '/assets/style.css']) {
        await site.request.get(path).expect(200, { has: false });
      }
      for (const path of ['/assets', '/healthy']) {
        expect((await site.request.get(path)).body).toEqual({ has: true });
      }
    });

    it('goes by a global prefix and by versions', async () => {
      @Controller({ path: 'count', version: ['1', '2'] })
      class VersionedController {
        @Get()
        count(@Session() session: Session<Visit>) {
          return { count: session.increment('count') };
        }
      }
      const site = await start(platform, {
        controllers: [VersionedController],
        prepare: (app) => {
          app.setGlobalPrefix('api');
          app.enableVersioning({ type: VersioningType.URI });
        },
      });
      const browser = site.browser();
      await browser.get('/api/v1/count').expect(200, { count: 1 });
      await browser.get('/api/v2/count').expect(200, { count: 2 });
      expect((await browser.get('/count')).status).toBe(404);
    });
  });

  describe('SessionModule', () => {
    it('F35: is the database engine on the default data source when nothing is said', async () => {
      const { browser } = await startModules(sqlite(), SessionModule.forRoot(undefined, off));
      await browser.get('/count').expect(200, { count: 1 });
      await browser.get('/count').expect(200, { count: 2 });
      const { browser: another } = await startModules(sqlite(), SessionModule.forRoot());
      expect((await another.get('/count')).body).toEqual({ count: 1 });
    });

    it('F35: takes its options from a factory, with or without an engine', async () => {
      const names = { provide: 'NAME', useFactory: async () => 'visit' };
      @Module({ providers: [names], exports: [names] })
      class NamesModule {}
      const fromFactory = {
        imports: [NamesModule],
        inject: ['NAME'],
        useFactory: async (name: string): Promise<SessionOptions> => ({ ...off, cookie: { name } }),
      };
      for (const modules of [
        [sqlite(), SessionModule.forRootAsync(fromFactory)],
        [SessionModule.forRootAsync({ ...fromFactory, engine: shelfEngine })],
        [sqlite(), SessionModule.forRootAsync({ ...fromFactory, engine: databaseEngine() })],
      ]) {
        const { browser } = await startModules(...modules);
        expect(sessionKeyIn(await browser.get('/count'), 'visit')).toMatch(/^[\w-]{22}\.[\w-]{43}$/);
        await browser.get('/count').expect(200, { count: 2 });
      }
    });

    it('refuses wrong options of a factory at the start', async () => {
      await expect(
        startModules(
          SessionModule.forRootAsync({ engine: shelfEngine, useFactory: () => ({ idleTimeout: -1 }) }),
        ),
      ).rejects.toThrow(/Session option "idleTimeout"/);
    });

    it('F33 F34: builds a store class with what it injects', async () => {
      @Module({ providers: [Shelf], exports: [Shelf] })
      class GlobalShelfModule {}
      const { app, browser } = await startModules(
        { module: GlobalShelfModule, global: true },
        SessionModule.forRoot(ShelfStore, off),
      );
      await browser.get('/count').expect(200, { count: 1 });
      await browser.get('/count').expect(200, { count: 2 });
      const store = app.get<ShelfStore>(SessionStore);
      expect(store.shelf).toBe(app.get(Shelf));
      expect(store.shelf.records.size).toBe(1);
      expect([...store.shelf.records.keys()][0]).toMatch(/^[\w-]{22}$/);
    });

    it('closes its store when the application is closed', async () => {
      const { app } = await startModules(SessionModule.forRoot(shelfEngine, off));
      const store = app.get<ShelfStore>(SessionStore);
      expect(store.closed).toBe(0);
      await app.close();
      expect(store.closed).toBe(1);
    });

    it('refuses a second forRoot in one application, whatever kind and wherever', async () => {
      const options = { ...off, useFactory: () => off };
      @Module({ imports: [SessionModule.forRoot(shelfEngine, off)] })
      class FeatureModule {}
      for (const second of [
        SessionModule.forRoot(shelfEngine, off),
        SessionModule.forRoot(memoryEngine(), off),
        SessionModule.forRootAsync({ engine: shelfEngine, useFactory: options.useFactory }),
        FeatureModule,
      ]) {
        await expect(startModules(SessionModule.forRoot(shelfEngine, off), second)).rejects.toThrow(
          expect.objectContaining({
            code: 'SESSION_CONFIG',
            message: expect.stringMatching(/twice.*Import it once/),
          }),
        );
      }
      const context = Test.createTestingModule({
        imports: [SessionModule.forRoot(shelfEngine, off), SessionModule.forRoot(shelfEngine, off)],
      }).compile();
      await expect(context).rejects.toThrow(/twice/);
    });

    it('takes one forRoot that several modules import, and one for every application of a process', async () => {
      const sessions = SessionModule.forRoot(shelfEngine, off);
      @Module({ imports: [sessions] })
      class OneModule {}
      @Module({ imports: [sessions] })
      class OtherModule {}
      for (let applications = 0; applications < 2; applications += 1) {
        const { browser } = await startModules(sessions, OneModule, OtherModule);
        await browser.get('/count').expect(200, { count: 1 });
        await browser.get('/count').expect(200, { count: 2 });
      }
      const jobs = await Test.createTestingModule({ imports: [sessions] }).compile();
      running.push(jobs);
      expect(
        await jobs
          .get(Sessions)
          .listByUser('ada')
          .catch(({ code }: { code: string }) => code),
      ).toBe('SESSION_UNSUPPORTED');
    });

    if (platform === 'fastify') {
      it('gives plugins of a testing module the request.session that they need, by mountSessions', async () => {
        /** As fastify-plugin marks them: not encapsulated, and refused where the request has no session. */
        const plugin = Object.assign(
          (instance: FastifyInstance, _options: unknown, done: () => void) => {
            instance.addHook('preValidation', async ({ session }) => session.set('cartId', 7));
            done();
          },
          {
            [Symbol.for('skip-override')]: true,
            [Symbol.for('plugin-meta')]: {
              name: 'needs-sessions',
              decorators: { request: ['session', 'sessionID'] },
            },
          },
        );
        const testing = await Test.createTestingModule({
          imports: [SessionModule.forRoot(shelfEngine, { ...off, loading: 'eager' })],
          controllers: [DoorController, MembersController],
        }).compile();
        const app = testing.createNestApplication<NestFastifyApplication>(new FastifyAdapter(), {
          logger: ['error'],
        });
        running.push(app);
        mountSessions(app);
        await app.register(plugin as never);
        await app.listen(0, '127.0.0.1');
        const { body } = await supertest(app.getHttpServer()).get('/members/cart').expect(200);
        expect(body).toEqual({ cartId: 7, vip: 'unknown' });
      });
    }

    it('S69: keeps two applications in one process apart', async () => {
      const first = await start(platform, { options: { cookie: { name: 'first' } } });
      const second = await start(platform === 'express' ? 'fastify' : 'express');
      const answer = await first.request.get('/count');
      const key = sessionKeyIn(answer, 'first');
      expect(key).toMatch(/^[\w-]{22}\.[\w-]{43}$/);
      for (const name of ['first', 'sessionid']) {
        await second.request.get('/count').set('Cookie', `${name}=${key}`).expect(200, { count: 1 });
      }
      await first.request.get('/count').set('Cookie', `first=${key}`).expect(200, { count: 2 });
    });
  });
});
