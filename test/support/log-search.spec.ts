import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { Logger } from '@nestjs/common';
import { EventEmitter2 } from '@nestjs/event-emitter';
import { SessionStoreUnavailableError } from 'nest-sessions';
import { createSecret, createSessionId, keyHasher } from '../../libs/session/src/session/session-key.js';
import { type LogEntry, LOGS_VARIABLE } from './log-files.js';
import { searchLogs } from './log-search.mjs';

const sha256 = (text: string): Buffer => createHash('sha256').update(text).digest();
const entry = (text: string): LogEntry => ({ source: 'stdout', spec: 'a.spec.ts', test: 'a test', text });

describe('S93: the search in what the tests log', () => {
  /** A secret: the half of a session key that opens the session. */
  const key = randomBytes(32).toString('base64url');
  const bytes = Buffer.from(key, 'base64url');

  it.each([
    ['a session key', key],
    ['its beginning', key.slice(0, 16)],
    ['its end', key.slice(-16)],
    ['the cookie', `{ cookie: 'sessionid=${key}; theme=dark' }`],
    ['its bytes in hexadecimal', bytes.toString('hex')],
    ['its bytes in base64', bytes.toString('base64')],
    ['its text in hexadecimal', Buffer.from(key).toString('hex')],
    ['its text in base64', Buffer.from(key).toString('base64')],
    ['its hash', sha256(key).toString('hex')],
    ['its hash in base64', sha256(key).toString('base64')],
    ['its hash in base64url', sha256(key).toString('base64url')],
    ['the session key that it is in', `${createSessionId()}.${key}`],
    ['any key hash', keyHasher().hash({ id: createSessionId(), secret: key, userId: null })],
    ['any peppered key hash', `p1.${randomBytes(32).toString('base64url')}`],
  ])('finds %s, and does not show it', (_form, secret) => {
    const leaks = searchLogs([entry('harmless'), entry(`first line\n  key=${secret}, "more"`)], [key]);
    expect(leaks.length).toBeGreaterThan(0);
    for (const { entry: found, line } of leaks) {
      expect(found.text).toContain(secret);
      expect(line).toMatch(/…/);
      expect(line).not.toContain(/[\w+/-]{16,}/.exec(secret.replace(/^[\w-]{22}\./, ''))?.[0].slice(0, 12));
    }
  });

  it('finds the token of a cookie engine', () => {
    const token = `e1.abcdefgh.${randomBytes(120).toString('base64url')}`;
    expect(searchLogs([entry(`GET / ${token}`)], [token])).toHaveLength(1);
    expect(searchLogs([entry(token.slice(12, 80))], [token.slice(12)])).toHaveLength(1);
  });

  it('has nothing against all else', () => {
    const others = [
      randomBytes(32).toString('base64url'),
      randomBytes(16).toString('base64url'),
      key.slice(0, 10),
      createSessionId(),
      new Error('with a stack').stack as string,
      'k'.repeat(43),
    ];
    expect(searchLogs(others.map(entry), [key, 'k'.repeat(43)])).toEqual([]);
  });
});

describe('S93: what the tests log', () => {
  const directory = process.env[LOGS_VARIABLE] as string;
  const read = (kind: string): string => readFileSync(join(directory, `${process.pid}.${kind}`), 'utf8');

  // The terminal is not what this is about.
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const ways: [string, (text: string) => void][] = [
    ['a logger of Nest, below its level', (text) => new Logger('Sessions').verbose(text)],
    ['the logger of Nest', (text) => Logger.debug(text)],
    ['an object that is logged', (text) => new Logger('Sessions').debug({ deep: { in: [{ it: text }] } })],
    ['a standard stream', (text) => process.stderr.write.call(nowhere as never, text)],
    ['an error that nobody logs', (text) => void new SessionStoreUnavailableError('load', text)],
    [
      'the cause of an error',
      (text) => void new SessionStoreUnavailableError('load', 'it is away', { cause: new Error(text) }),
    ],
    [
      'an event that somebody emits',
      (text) => void new EventEmitter2().emit('session.created', { sessionId: text }),
    ],
    [
      'an event of the library, though nobody listens',
      (text) =>
        new EventEmitter2().listenersAny().forEach((listener) => listener('session.created', { id: text })),
    ],
  ];

  beforeAll(() => Logger.overrideLogger(false));

  it.each(ways)('by %s is written down', async (_way, say) => {
    const text = `this was said ${randomBytes(4).toString('hex')}`;
    say(text);
    await Promise.resolve();
    expect(read('log')).toContain(text);
  });

  it('by the console would be, which is not tried because it would show', () => {
    for (const method of [console.log, console.debug, console.error, console.trace]) {
      expect(Object.getOwnPropertySymbols(method)).toContain(Symbol.for('nest-sessions:original'));
    }
  });

  it('is held against every session key', () => {
    const key = createSecret();
    expect(read('secrets')).toContain(key);
  });

  it('is held against what comes and goes in a header', async () => {
    // Not drawn as a secret is.
    const keys = Array.from({ length: 3 }, () => randomBytes(33).toString('base64url').slice(0, 43));
    const server = createServer((_request, response) => {
      response.setHeader('Session-Key', `${createSessionId()}.${keys[2]}`);
      response.end();
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const { port } = server.address() as AddressInfo;
    await fetch(`http://127.0.0.1:${port}`, {
      headers: {
        Authorization: `Bearer ${createSessionId()}.${keys[0]}`,
        'X-Session-Key': `${createSessionId()}.${keys[1]}`,
        Connection: 'close',
      },
    });
    server.close();
    for (const key of keys) expect(read('secrets')).toContain(key);
  });
});
