import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Controller, Get, Post } from '@nestjs/common';
import { Session, SessionStore } from 'nest-sessions';
import { fileEngine } from 'nest-sessions/file';
import { platforms, type RunningApp, silent, startApp } from './support/app.js';
import { sessionKeyIn } from './support/database-app.js';

const SECRET = 'W9d_xPzT4mKs-Y7vLq2NhRb6CjFu1GaE';

const root = mkdtempSync(join(tmpdir(), 'file-engine-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

function newDirectory(): string {
  return mkdtempSync(join(root, 'sessions-'));
}

function idIn(sessionKey: string): string {
  return sessionKey.slice(0, sessionKey.indexOf('.'));
}

function pathIn(directory: string, sessionKey: string): string {
  const name = Buffer.from(`${idIn(sessionKey)}AA`, 'base64url')
    .toString('hex')
    .slice(0, 33);
  return join(directory, name.slice(0, 2), name);
}

function cookie(key: string): [name: string, value: string] {
  return ['Cookie', `sessionid=${key}`];
}

@Controller()
class VisitController {
  @Get('visits')
  visits(@Session() session: Session): number {
    return session.increment('visits');
  }

  @Post('login')
  login(@Session() session: Session): void {
    session.login('Ann');
  }

  @Post('logout')
  logout(@Session() session: Session): void {
    session.logout();
  }
}

describe.each(platforms)('an application on %s', (platform) => {
  let directory: string;
  let running: RunningApp;

  beforeAll(async () => {
    directory = newDirectory();
    const engine = fileEngine({ inject: [], useFactory: () => Promise.resolve({ directory }) });
    running = await startApp(platform, { engine, controllers: [VisitController], logger: silent });
  });
  afterAll(() => running.close());

  it('counts parallel requests exactly, starts a new session at a login and ends for good', async () => {
    const first = sessionKeyIn(await running.request.get('/visits')) as string;
    await Promise.all(Array.from({ length: 30 }, () => running.request.get('/visits').set(...cookie(first))));
    expect((await running.request.get('/visits').set(...cookie(first))).text).toBe('32');

    const second = sessionKeyIn(await running.request.post('/login').set(...cookie(first))) as string;
    expect((await running.request.get('/visits').set(...cookie(first))).text).toBe('1');
    expect((await running.request.get('/visits').set(...cookie(second))).text).toBe('33');
    expect(await running.app.get(SessionStore).listByUser('Ann')).toHaveLength(1);
    await running.request.post('/logout').set(...cookie(second));
    expect((await running.request.get('/visits').set(...cookie(second))).text).toBe('1');
    expect(await running.app.get(SessionStore).listByUser('Ann')).toEqual([]);
  });

  it('S05: keeps nothing on the disk that opens a session', async () => {
    const first = sessionKeyIn(await running.request.get('/visits')) as string;
    const second = sessionKeyIn(await running.request.post('/login').set(...cookie(first))) as string;
    await running.request.get('/visits').set(...cookie(second));
    const paths = readdirSync(directory, { recursive: true, withFileTypes: true });
    const dump = paths
      .map((entry) => join(entry.parentPath, entry.name))
      .map((path) => path + (statSync(path).isFile() ? readFileSync(path, 'latin1') : ''))
      .join('\n');
    expect(dump).toContain(idIn(second));
    for (const key of [first, second]) {
      const secret = key.slice(key.indexOf('.') + 1);
      const inputs = [key, secret, Buffer.from(secret, 'base64url')];
      const encodings = (['hex', 'base64', 'base64url'] as const).flatMap((encoding) => [
        ...inputs.map((input) => createHash('sha256').update(input).digest(encoding)),
        ...inputs.map((input) => Buffer.from(input).toString(encoding)),
      ]);
      for (const text of [secret, ...encodings]) expect(dump.includes(text)).toBe(false);
    }
  });

  it('S71: takes a forged part of a file for no session, tells of it and leaves it alone', async () => {
    const logged: string[] = [];
    const secretive = newDirectory();
    const encrypted = await startApp(platform, {
      engine: fileEngine({ directory: secretive, encryption: { secrets: SECRET } }),
      controllers: [VisitController],
      logger: { ...silent, error: (message: string) => void logged.push(message) },
    });
    try {
      const [mine, theirs] = [
        sessionKeyIn(await encrypted.request.get('/visits')) as string,
        sessionKeyIn(await encrypted.request.get('/visits')) as string,
      ];
      const payload = /\t(.*)$/;
      const [path, theirPath] = [pathIn(secretive, mine), pathIn(secretive, theirs)];
      const [, foreign = ''] = payload.exec(readFileSync(theirPath, 'utf8')) ?? [];
      const forged = readFileSync(path, 'utf8').replace(payload, `\t${foreign}`);
      writeFileSync(path, forged);
      expect((await encrypted.request.get('/visits').set(...cookie(mine))).text).toBe('1');
      expect((await encrypted.request.get('/visits').set(...cookie(theirs))).text).toBe('2');
      expect(logged).toEqual([expect.stringMatching(/could not be decrypted/)]);
      expect(readFileSync(path, 'utf8')).toBe(forged);
    } finally {
      await encrypted.close();
    }
  });

  it('keeps its sessions over a restart, and says 503 without its directory', async () => {
    const key = sessionKeyIn(await running.request.get('/visits')) as string;
    await running.close();
    running = await startApp(platform, {
      engine: fileEngine({ directory, fsync: true }),
      controllers: [VisitController],
      logger: silent,
    });
    const visit = () => running.request.get('/visits').set('Cookie', `sessionid=${key}`);
    expect((await visit()).text).toBe('2');
    renameSync(directory, `${directory}-away`);
    const response = await visit();
    expect([response.status, response.headers['set-cookie']]).toEqual([503, undefined]);
    renameSync(`${directory}-away`, directory);
    expect((await visit()).text).toBe('3');
  });

  it('does not start without its directory', async () => {
    const engine = fileEngine({ directory: join(root, 'nowhere') });
    await expect(startApp(platform, { engine, logger: silent })).rejects.toMatchObject({
      code: 'SESSION_CONFIG',
    });
  });
});
