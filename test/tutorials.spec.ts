import { type SessionRecord, Sessions, SessionStore } from 'nest-sessions';
import { CreateNestSession1767225600000, SessionEntity } from 'nest-sessions/database';
import { assertNear } from '../libs/session/src/testing/store-bench.js';
import { platforms, startApp } from './support/app.js';
import {
  age,
  anyDatabase,
  type DatabaseApp,
  sessionKeyIn,
  startDatabaseApp,
} from './support/database-app.js';
import { S0Controller } from './tutorials/s0.controller.js';
import { S2Controller } from './tutorials/s2.controller.js';
import { S4Controller } from './tutorials/s4.controller.js';

// What the tutorials teach of an engine of one's own, and of the table. All else is in suites/tutorials.suite.ts, which
// every engine walks.
describe.each(platforms)('the tutorials on %s', (platform) => {
  const DAY = 24 * 60 * 60;
  let site: DatabaseApp;
  afterEach(() => site?.close());

  const rows = (): Promise<SessionEntity[]> => site.dataSource.getRepository(SessionEntity).find();
  const onlyRow = async (): Promise<SessionEntity> => {
    const all = await rows();
    expect(all).toHaveLength(1);
    return all[0] as SessionEntity;
  };

  it('F33 F34 F35: load, create, save and delete make an engine', async () => {
    class MapStore extends SessionStore {
      readonly records = new Map<string, SessionRecord>();
      async load(key: string) {
        return structuredClone(this.records.get(key)) ?? null;
      }
      async create(key: string, record: SessionRecord) {
        if (this.records.has(key)) return false;
        this.records.set(key, record);
        return true;
      }
      async save(key: string, keyHash: string, _changes: object, record: SessionRecord) {
        if (this.records.get(key)?.keyHash !== keyHash) return false;
        this.records.set(key, record);
        return true;
      }
      async delete(key: string) {
        return this.records.delete(key);
      }
    }
    const own = await startApp(platform, { engine: MapStore, controllers: [S0Controller] });
    const agent = own.browser();
    await agent.get('/create');
    expect((await agent.get('/access')).text).toContain('ada');
    await agent.post('/logout');
    expect(own.app.get<MapStore>(SessionStore).records.size).toBe(0);
    await own.close();
  });

  it('F23 F24 F38: a migration made the table; the row has the session id, a hash of the secret, the data and a date two weeks from now', async () => {
    site = await startDatabaseApp(platform, anyDatabase, {
      controllers: [S2Controller],
      typeorm: { synchronize: false, migrations: [CreateNestSession1767225600000], migrationsRun: true },
    });
    const set = await site.request.get('/set');
    const key = sessionKeyIn(set) as string;

    const row = await onlyRow();
    expect(row.sessionId).toBe(key.slice(0, 22));
    expect(row.keyHash).toMatch(/^s1\.[\w-]{43}$/);
    expect(JSON.stringify(row)).not.toContain(key.slice(23));
    expect(row.getDecoded()).toEqual({ sname: 'Grace', semail: 'grace@example.org' });
    assertNear(row.expireDate - row.createdAt, 14 * DAY * 1000, 'the time to live');
    expect(set.get('Set-Cookie')?.[0]).toContain(`Max-Age=${14 * DAY};`);
    const [raw] = (await site.dataSource.query(
      'SELECT session_key, session_data, expire_date FROM nest_session',
    )) as [Record<string, unknown>];
    expect(raw['session_data']).toContain('Grace');
  });

  it('F8 F12 F68 F69 F70: nothing written makes no row, nothing left leaves it, and the end takes it away', async () => {
    site = await startDatabaseApp(platform, anyDatabase, { controllers: [S2Controller] });
    const browser = site.browser();
    await browser.get('/get');
    expect(await rows()).toEqual([]);
    await browser.get('/set');
    await browser.get('/delete');
    expect((await onlyRow()).getDecoded()).toEqual({});
    await browser.get('/flush');
    expect(await rows()).toEqual([]);
  });

  it('F53: a row shows what is in it', async () => {
    site = await startDatabaseApp(platform, anyDatabase, { controllers: [S2Controller] });
    const made = await site.app.get(Sessions).create<{ name: string }>({ name: 'root' });
    const row = await site.dataSource.getRepository(SessionEntity).findOneByOrFail({ sessionId: made.id });
    expect(row.getDecoded()).toEqual({ name: 'root' });
    expect(new Date(row.expireDate).getTime()).toBeGreaterThan(Date.now());
    row.sessionData = 'neither here nor there';
    expect(row.getDecoded()).toEqual({});
  });

  it('F48: clearing takes expired rows away, not their neighbours', async () => {
    site = await startDatabaseApp(platform, anyDatabase, { controllers: [S4Controller] });
    await site.request.post('/login').send({ username: 'ada' });
    await age(site.dataSource, 1801);
    const other = site.browser();
    await other.post('/login').send({ username: 'grace' });
    expect(await rows()).toHaveLength(2);
    // Clearing goes by whole hours.
    await site.dataSource.query('UPDATE nest_session SET expire_bucket = expire_bucket - 2');
    expect(await site.app.get(Sessions).clearExpired()).toBe(1);
    expect(await rows()).toHaveLength(1);
    expect((await other.get('/connection')).text).toBe('Welcome grace');
  });
});
