import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { SessionCommittedError, SessionStore } from 'nest-sessions';
import { type RunningApp, silent, startApp } from '../support/app.js';
import { HeldStore } from '../support/held-store.js';
import { barrier } from '../support/recording-store.js';
import {
  type Answer,
  comparable,
  connectionsOf,
  exchange,
  type ExchangeOptions,
  leave,
  sessionCookie,
} from '../support/wire.js';
import { type EngineRow } from './engine-row.js';
import { LARGE, MEGABYTE, prepareShapes, seen, shapes, ShapesController } from './gate.pages.js';

/** The response gate in front of an engine of the table: no byte leaves before the session is saved. */
export function describeGate(row: EngineRow): void {
  describe('the response gate', () => {
    const gate = new Gate(row);
    beforeAll(() => gate.open());
    beforeEach(() => gate.store.reset());
    afterAll(() => gate.close());

    describeAlways(gate);
    if (row.lacks('server')) describeClientsOwn(gate);
    else describeHeld(gate);
  });
}

class Gate {
  /** The same application without sessions. */
  plain!: RunningApp;
  app!: RunningApp;
  store!: HeldStore;
  connections: Socket[] = [];

  constructor(private readonly row: EngineRow) {}

  async open(): Promise<void> {
    const { platform } = this.row;
    const controllers = [ShapesController];
    this.plain = await startApp(platform, {
      engine: 'none',
      controllers,
      logger: silent,
      prepare: (app) => prepareShapes(app, platform, false),
    });
    this.app = await this.row.start({ controllers, prepare: (app) => prepareShapes(app, platform, true) });
    this.store = new HeldStore(this.app.app.get(SessionStore));
    this.connections = connectionsOf(this.app);
  }

  async close(): Promise<void> {
    await Promise.all([this.plain.close(), this.app.close()]);
  }

  send(path: string, options?: ExchangeOptions) {
    return exchange(`${this.app.url}${path}`, options);
  }

  async expected(path: string, options?: ExchangeOptions) {
    return comparable(await exchange(`${this.plain.url}${path}`, options).answer);
  }

  /** Requests that need no session are answered meanwhile: whatever was to leave before them has left. */
  async others(): Promise<void> {
    for (let turn = 0; turn < 3; turn += 1) {
      assert.equal((await this.send('/ping').answer).body.toString(), 'pong');
    }
  }

  async visitsOf(cookie: string): Promise<unknown> {
    const { body } = await this.send('/visits', { headers: { Cookie: cookie } }).answer;
    return (JSON.parse(body.toString()) as { visits: unknown }).visits;
  }

  /** One request whose load and commit are held back until it is clear that nothing has left before. */
  async heldBack(
    path: string,
    { cookie, operation, ...options }: ExchangeOptions & { cookie?: string; operation: 'create' | 'save' },
  ): Promise<Answer> {
    const steps = [...(cookie === undefined ? [] : [this.store.hold('load')]), this.store.hold(operation)];
    const first = this.connections.length;
    const headers = { ...options.headers, ...(cookie !== undefined && { Cookie: cookie }) };
    const going = this.send(path, { ...options, headers });
    for (const step of steps) {
      await step.reached;
      await this.others();
      assert.equal(going.arrived(), false, 'the head has left before the commit');
      assert.equal(this.connections[first]?.bytesWritten, 0, 'bytes have left before the commit');
      step.release();
    }
    return going.answer;
  }
}

function expectSessionHeaders({ headers }: Answer): void {
  expect(headers['set-cookie']?.filter((line) => line.startsWith('sessionid='))).toHaveLength(1);
  expect(headers['cache-control']).toMatch(/\bno-store\b/);
  expect(headers.vary).toMatch(/\bCookie\b/);
}

/** What needs nothing to be held back. */
function describeAlways(gate: Gate): void {
  it('lets a server error through without a write', async () => {
    const expected = await gate.expected('/crash');
    const answer = await gate.send('/crash').answer;

    expect(comparable(answer)).toEqual(expected);
    expect(gate.store.calls).toEqual([]);
    expect(answer.headers['set-cookie']).toBeUndefined();
  });

  it('keeps a connection alive across held responses', async () => {
    const browser = gate.app.browser();
    for (let turn = 1; turn <= 3; turn += 1) await browser.get('/json').expect(200);
    expect((await browser.get('/visits')).body).toEqual({ visits: 3 });
  });

  it.each([{}, { Cookie: `sessionid=${'k'.repeat(22)}.${'k'.repeat(43)}` }])(
    'costs nothing if untouched: %j',
    async (headers) => {
      const expected = await gate.expected('/ping');
      const answer = await gate.send('/ping', { headers }).answer;

      expect(comparable(answer)).toEqual(expected);
      expect(answer.headers).not.toHaveProperty('vary');
      expect(answer.headers).not.toHaveProperty('cache-control');
      expect((await gate.send('/gate', { headers }).answer).body.toString()).toBe('false');
      expect(gate.store.calls).toEqual([]);
    },
  );
}

/** There is no store to wait for: the cookie is the commit, so it has to be in the head of every shape. */
function describeClientsOwn(gate: Gate): void {
  it.each(shapes)(
    '%s is the same as without sessions, and carries the session',
    async (_name, path, options = {}) => {
      const expected = await gate.expected(path, options);
      const first = await gate.send(path, options).answer;
      expect(comparable(first)).toEqual(expected);
      expectSessionHeaders(first);

      const headers = { ...options.headers, Cookie: sessionCookie(first) as string };
      const again = await gate.send(path, { ...options, headers }).answer;
      expect(comparable(again)).toEqual(expected);
      expectSessionHeaders(again);
      expect(await gate.visitsOf(sessionCookie(again) as string)).toBe(2);
      expect(gate.store.calls).toEqual([]);
    },
  );
}

function describeHeld(gate: Gate): void {
  it.each(shapes)(
    '%s is the same as without sessions, after one commit, and never before it',
    async (_name, path, options = {}) => {
      const expected = await gate.expected(path, options);

      const first = await gate.heldBack(path, { ...options, operation: 'create' });
      expect(comparable(first)).toEqual(expected);
      expect(gate.store.writes).toEqual(['create']);
      expectSessionHeaders(first);

      gate.store.calls = [];
      const cookie = sessionCookie(first) as string;
      const again = await gate.heldBack(path, { ...options, operation: 'save', cookie });
      expect(comparable(again)).toEqual(expected);
      expect(gate.store.calls).toEqual(['load', 'save']);
      // On a machine so busy that the deadline has moved by a second, the same cookie is set again.
      expect([undefined, cookie]).toContain(sessionCookie(again));
      expect(await gate.visitsOf(cookie)).toBe(2);
    },
  );

  it('gives the session to an intercepted @Sse() handler in time, however slow the store', async () => {
    const first = await gate.heldBack('/sse-intercepted', { operation: 'create' });
    const cookie = sessionCookie(first) as string;
    const again = await gate.heldBack('/sse-intercepted', { operation: 'save', cookie });
    expect(again.status).toBe(200);
    expect(again.body.toString()).toContain('data: 2');
  });

  it('keeps a stream waiting instead of buffering it', async () => {
    const held = gate.store.hold('create');
    const going = gate.send('/large');
    await held.reached;
    await gate.others();
    expect(seen.taken()).toBeLessThan(MEGABYTE);
    held.release();
    expect((await going.answer).body).toHaveLength(LARGE);
  });

  it('calls the callbacks of writes, in their order, when they were carried out', async () => {
    const held = gate.store.hold('create');
    const going = gate.send('/callbacks');
    await held.reached;
    await gate.others();
    expect(seen.callbacks).toEqual([]);
    held.release();
    await going.answer;
    expect(seen.callbacks).toEqual(['a', 'ü', 'end']);
  });

  it('throws the mistakes of a handler where they are made, and looks sent while it holds', async () => {
    const held = gate.store.hold('create');
    const going = gate.send('/mistakes');
    await held.reached;
    await gate.others();
    const whileHeld = seen.errors;
    held.release();
    const answer = await going.answer;

    expect(whileHeld).toEqual([
      'ERR_HTTP_INVALID_STATUS_CODE',
      'ERR_INVALID_HTTP_TOKEN',
      'ERR_INVALID_ARG_VALUE',
      'ERR_HTTP_HEADERS_SENT',
      'ERR_HTTP_HEADERS_SENT',
      'ERR_HTTP_HEADERS_SENT',
      'ERR_HTTP_HEADERS_SENT',
      'ERR_INVALID_ARG_TYPE',
      true,
      false,
      true,
      true,
    ]);
    expect(answer).toMatchObject({ status: 200, headers: { 'x-good': '1' } });
    expect(answer.body.toString()).toBe('corrected');
    expect(answer.headers['x-late']).toBeUndefined();
  });

  it('passes 1xx responses at once', async () => {
    const held = gate.store.hold('create');
    const going = gate.send('/hints');
    await held.reached;
    await gate.others();
    expect(going.hints).toEqual([100, 103]);
    expect(going.arrived()).toBe(false);
    held.release();
    expect((await going.answer).body.toString()).toBe('hinted');
  });

  it('answers pipelined requests in their order', async () => {
    const held = gate.store.hold('create');
    const { port } = new URL(gate.app.url);
    const client = connect(Number(port), '127.0.0.1');
    const received = text(client);
    client.write('GET /json HTTP/1.1\r\nHost: a\r\n\r\nGET /ping HTTP/1.1\r\nHost: a\r\n\r\n');
    client.write('GET /string HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    await held.reached;
    await gate.others();
    expect(client.bytesRead).toBe(0);
    held.release();

    const bodies = (await received).split('HTTP/1.1 200 OK\r\n').slice(1);
    expect(bodies).toHaveLength(3);
    expect(bodies[0]).toContain('wörld');
    expect(bodies[1]).toContain('pong');
    expect(bodies[2]).toContain('plain text');
    expect(gate.store.writes).toEqual(['create', 'create']);
  });

  it.each(['/json', '/large', '/sse', '/redirect', '/flush-headers'])(
    'commits %s although the client left while it was held back',
    async (path) => {
      const held = gate.store.hold('create');
      const first = gate.connections.length;
      const going = gate.send(path);
      await held.reached;
      await leave(going, gate.connections[first]);
      held.release();
      await held.done;

      expect(gate.store.writes).toEqual(['create']);
      expect(await gate.store.lastCreated()).toEqual({ visits: 1 });
    },
  );

  it.each(['json', 'text'])('commits %s although the client left before the handler was done', async (as) => {
    const arrived = new Promise<void>((arrive) => (seen.gate.arrive = arrive));
    const resumed = barrier();
    seen.gate.wait = resumed.passed;
    const held = gate.store.hold('create');
    held.release();
    const first = gate.connections.length;
    const going = gate.send(`/slow?as=${as}`);
    await arrived;
    await leave(going, gate.connections[first]);
    resumed.open();
    await held.done;

    expect(gate.store.writes).toEqual(['create']);
    expect(await gate.store.lastCreated()).toEqual({ visits: 1, late: true });
  });

  it('refuses changes after the response has begun, and takes them after a reload', async () => {
    const answer = await gate.send('/after').answer;

    expect(answer.body.toString()).toBe('begun done');
    expect(seen.errors).toEqual([expect.any(SessionCommittedError)]);
    expect(gate.store.writes).toEqual(['create', 'save']);
    expect(await gate.store.lastCreated()).toEqual({ before: 1, afterReload: 1 });
  });
}
