import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Browser, start } from '../support.mjs';

const directory = await mkdtemp(join(tmpdir(), 'prisma-'));
process.env.DATABASE_URL = `file:${join(directory, 'app.db')}`;

const command = 'npx nest-sessions schema --dialect sqlite --orm prisma';
const model = execFileSync(command, { shell: true, encoding: 'utf8' });
assert.ok((await readFile('prisma/schema.prisma', 'utf8')).includes(model));

// What `npx prisma migrate deploy` does with a program that Prisma downloads.
const { PrismaService } = await import('./dist/prisma.module.js');
const prisma = new PrismaService();
const migration = await readFile('prisma/migrations/20260101000000_sessions/migration.sql', 'utf8');
for (const statement of migration.split(';\n').slice(0, -1)) await prisma.$executeRawUnsafe(statement);
await prisma.$disconnect();

let app = await start();
const browser = new Browser(app.url);
await browser.post('/cart', { item: 'tea' });
assert.deepEqual(await (await browser.post('/cart', { item: 'milk' })).json(), ['tea', 'milk']);
assert.equal((await browser.get('/me')).status, 401);
await browser.post('/login', { name: 'ada', password: 'engine' });

await app.stop();
app = await start();
browser.url = app.url;
const me = await (await browser.get('/me')).json();
assert.deepEqual(me, { userId: 'ada', cart: ['tea', 'milk'], sessions: 1 });

const loggedIn = browser.cookie;
await browser.post('/logout');
browser.cookie = loggedIn;
assert.equal((await browser.get('/me')).status, 401);

await app.stop();
await rm(directory, { recursive: true });
