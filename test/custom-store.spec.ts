import { AsyncLocalStorage } from 'node:async_hooks';
import { readFileSync } from 'node:fs';
import { type IncomingMessage } from 'node:http';
import { Controller, Get, Global, Injectable, Module, Param, Post } from '@nestjs/common';
import { Session, type SessionChanges, type SessionRecord, Sessions } from 'nest-sessions';
import { describeSessionStore, type StoreUnderTest } from 'nest-sessions/testing';
import { Pool } from 'pg';
import { MergingSqlStore } from './merging-sql-store.js';
import { SqlStore } from './sql-store.js';
import { type RunningApp, startApp } from './support/app.js';
import { testDatabase } from './support/data-source.js';
import { describeOrder, inEveryOrder, Walker } from './support/interleaving.js';
import { describeWithService } from './support/services.js';
import { byThisClock } from './support/store-kit.js';
import { startTcpProxy } from './support/tcp-proxy.js';

const page = readFileSync('docs/engines/custom.md', 'utf8');
const [, schema = ''] = /^```sql\n(.*?)^```$/ms.exec(page) ?? [];

it.each(['sql-store', 'merging-sql-store'])('The %s of the docs is the one that is tested', (name) => {
  expect(page).toContain(`\`\`\`ts\n${readFileSync(`test/${name}.ts`, 'utf8')}\`\`\`\n`);
});

/** A database of its own with the table of the docs. */
async function openDatabase() {
  const { options, dispose } = await testDatabase('postgres');
  const { url, extra } = options as { url: string; extra: { options: string } };
  const direct = new Pool({ connectionString: url, ...extra });
  await direct.query(schema);
  return { url, extra, direct, dispose: () => direct.end().then(dispose) };
}

async function underTest(Store: new (pool: Pool) => SqlStore): Promise<StoreUnderTest> {
  const { url, extra, direct, dispose } = await openDatabase();
  const proxied = new URL(url);
  const proxy = await startTcpProxy(proxied.hostname, Number(proxied.port || 5432));
  proxied.hostname = '127.0.0.1';
  proxied.port = String(proxy.port);
  const pool = new Pool({ connectionString: proxied.href, ...extra });
  pool.on('error', () => {});
  return {
    store: new Store(pool),
    sibling: () => new Store(direct),
    async corrupt(id) {
      await direct.query(`UPDATE app_session SET record = '{"id":' WHERE id = $1`, [id]);
    },
    cut: async () => proxy.cut(),
    mend: async () => proxy.mend(),
    ...byThisClock(async () => {
      await pool.end();
      await proxy.close();
      await dispose();
    }),
  };
}

/** What the table of the example has no columns for. */
const lacks = { byUser: false, ownClock: false };

describeWithService('postgres', 'A store of your own', () => {
  describeSessionStore('from four methods conforms', () => underTest(SqlStore), {
    capabilities: { ...lacks, atomicChanges: false, limits: false, clearsExpired: false },
  });

  describeSessionStore('that merges changes conforms', () => underTest(MergingSqlStore), {
    capabilities: lacks,
  });
});

const MINUTE = 60_000;

/** The request that asks the store for something; outside of a race there is none. */
const asking = new AsyncLocalStorage<Walker | undefined>();
/** The clock of the sessions; so a session can be old enough for a renewal. */
let ahead = 0;

/** The smallest store. Each of its methods is a step that waits until it is the turn of its request. */
@Injectable()
class SteppedSqlStore extends SqlStore {
  override now(): number {
    return Date.now() + ahead;
  }

  override load(id: string): Promise<SessionRecord | null> {
    return inTurn('load', id, () => super.load(id));
  }

  override create(id: string, record: SessionRecord): Promise<boolean> {
    return inTurn('create', id, () => super.create(id, record));
  }

  override save(
    id: string,
    keyHash: string,
    changes: SessionChanges,
    record: SessionRecord,
  ): Promise<boolean> {
    return inTurn('save', id, () => super.save(id, keyHash, changes, record));
  }

  override delete(id: string): Promise<boolean> {
    return inTurn('delete', id, () => super.delete(id));
  }
}

function inTurn<Result>(name: string, id: string, work: () => Promise<Result>): Promise<Result> {
  return asking.getStore()?.take({ name, ids: [id] }, work) ?? work();
}

/** What the requests do that race, each with the cookie of Ann's session. */
const kinds = {
  write: (session) => session.set('a', 1),
  login: (session) => session.login('Bob'),
  rotate: (session) => session.cycleKey(),
  /** The session is old enough for it, then. */
  renew: (session) => void session.get('a'),
  logout: (session) => session.logout(),
} satisfies Record<string, (session: Session) => void>;

type Kind = keyof typeof kinds | 'revoke';

@Controller()
class RaceController {
  constructor(private readonly sessions: Sessions) {}

  @Post('start')
  start(@Session() session: Session) {
    session.login('Ann');
    return {};
  }

  @Get('look')
  look(@Session() { userId, id }: Session) {
    return { userId, id };
  }

  @Post('revoke')
  async revoke() {
    return { revoked: await this.sessions.revoke(race.id) };
  }

  @Post(':kind')
  act(@Param('kind') kind: Exclude<Kind, 'revoke'>, @Session() session: Session) {
    const { userId } = session;
    kinds[kind](session);
    return { userId };
  }
}

/** What a request came to. */
interface Answer {
  status: number;
  /** Whose session the request found. */
  userId: string | null;
  id: string;
  /** The session key in Set-Cookie, '' for a removal, undefined for nothing. */
  cookie: string | undefined;
}

async function send(url: string, key: string, racer = -1): Promise<Answer> {
  const method = url.endsWith('/look') ? 'GET' : 'POST';
  const headers = { cookie: `sessionid=${key}`, 'x-racer': `${racer}` };
  const response = await fetch(url, { method, headers });
  const [cookie] = response.headers.getSetCookie();
  const body = (await response.json()) as Pick<Answer, 'userId' | 'id'>;
  return { ...body, status: response.status, cookie: cookie && /^sessionid=([^;]*)/.exec(cookie)?.[1] };
}

interface Race {
  /** Of Ann's session, before the race. */
  id: string;
  key: string;
  walkers: Walker[];
  /** In the order in which they came. */
  answers: ({ kind: Kind } & Answer)[];
}

let race: Race = { id: '', key: '', walkers: [], answers: [] };

/** Requests that come at the same time, with the cookie of one session. */
async function start(url: string, pair: readonly Kind[]): Promise<Race> {
  ahead = 0;
  const { cookie: key = '' } = await send(`${url}/start`, '');
  ahead = pair.includes('renew') ? 10 * MINUTE : 0;
  race = { id: key.slice(0, 22), key, walkers: [], answers: [] };
  const sessionIds = new Set<string>();
  for (const [index, kind] of pair.entries()) {
    const walker = new Walker(kind, sessionIds, async () => {
      race.answers.push({ kind, ...(await send(`${url}/${kind}`, key, index)) });
    });
    race.walkers.push(walker);
  }
  return race;
}

/** What is wrong with how a race ended. */
async function judge(
  url: string,
  { id, key, answers }: Race,
  sessionsOfUsers: number | undefined,
): Promise<string[]> {
  const faults: string[] = [];
  const claim = (isRight: boolean, fault: string): void => void (isRight || faults.push(fault));
  const of = (kind: Kind): Answer[] => answers.filter((answer) => answer.kind === kind);
  const cookies = answers.flatMap(({ cookie }) => cookie ?? []);
  const seen = new Map<string, Answer>();
  for (const each of [key, ...cookies]) if (each !== '') seen.set(each, await send(`${url}/look`, each));
  const openers = [...seen]
    .filter(([, found]) => found.id === id && found.userId === 'Ann')
    .map(([each]) => each);

  for (const { kind, status } of answers) claim(status === 201, `${kind} was answered with ${status}`);

  // A logout and a login end the session that they found.
  const isEnded =
    of('revoke').length > 0 || [...of('logout'), ...of('login')].some(({ userId }) => userId === 'Ann');
  claim(openers.length === 0 || !isEnded, 'the session was ended and lives on');
  claim(openers.length > 0 || isEnded, 'the session is lost');

  for (const { cookie } of of('login')) {
    const found = seen.get(cookie ?? '');
    claim(found?.userId === 'Bob' && found.id !== id, 'a login did not hold');
  }
  const newest = of('rotate').flatMap(({ cookie }) => cookie ?? []);
  if (of('rotate').length > 0 && !isEnded) {
    claim(newest.length === 1, `${newest.length} rotations have won`);
    claim(
      openers.every((each) => newest.includes(each)),
      'a replaced key opens the session',
    );
  } else if (of('renew').length > 0 && !isEnded) {
    claim(openers.length === 2, `${openers.length} keys open a session that was just renewed`);
  }

  if (of('revoke').length + of('logout').length === 0) {
    const browser = seen.get(cookies.at(-1) ?? key)?.userId;
    claim(
      browser === (of('login').length > 0 ? 'Bob' : 'Ann'),
      `the browser is left with the session of ${browser}`,
    );
  }
  // A write that comes with a dead key may have started the session of a visitor.
  const expected = (isEnded ? 0 : 1) + of('login').length;
  claim(sessionsOfUsers === expected, `${sessionsOfUsers} sessions of users are left instead of ${expected}`);
  return faults;
}

const names: Kind[] = [...(Object.keys(kinds) as Kind[]), 'revoke'];
const pairs = names.flatMap((one, n) => names.slice(n).map((other) => [one, other] as const));

describeWithService('postgres', 'The smallest store of your own, over HTTP', () => {
  let database: Awaited<ReturnType<typeof openDatabase>>;
  let app: RunningApp;

  beforeAll(async () => {
    database = await openDatabase();

    @Global()
    @Module({ providers: [{ provide: Pool, useValue: database.direct }], exports: [Pool] })
    class Database {}

    app = await startApp('express', {
      engine: SteppedSqlStore,
      options: { renewAfter: '5m', storeTimeout: '1m' },
      imports: [Database],
      controllers: [RaceController],
      prepare: (application) =>
        void application.use((request: IncomingMessage, _response: unknown, next: () => void) =>
          asking.run(race.walkers[Number(request.headers['x-racer'])], next),
        ),
    });
  });
  afterAll(async () => {
    await app.close();
    await database.dispose();
  });

  it.each(pairs)(
    'keeps every promise when a %s meets a %s, in every order of their steps',
    async (...pair) => {
      const faults: string[] = [];
      const orders = await inEveryOrder({
        start: () => start(app.url, pair),
        async finished(ended, order) {
          const { rows } = await database.direct.query<{ users: number }>(
            `SELECT count(record::json ->> 'userId')::int AS users FROM app_session`,
          );
          for (const fault of await judge(app.url, ended, rows[0]?.users)) {
            faults.push(`${fault} (${describeOrder(order)})`);
          }
          await database.direct.query('TRUNCATE app_session');
        },
      });
      expect(faults).toEqual([]);
      expect(orders).toBeGreaterThanOrEqual(3);
    },
  );
});
