import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { start } from '../support.mjs';

const { url, stop } = await start();
const directory = await mkdtemp(join(tmpdir(), 'mobile-'));
const keyFile = join(directory, 'key');
const run = promisify(execFile);

/** Runs the client, and returns what it prints; a refusal is the client's failure. */
async function client(...words) {
  const env = { ...process.env, SERVER: url, KEY_FILE: keyFile };
  const { stdout } = await run(process.execPath, ['client.mjs', ...words], { env }).catch((error) => {
    if (error.code !== 1 || error.stderr) throw error;
    return error;
  });
  return stdout.trim();
}

assert.equal(await client('notes'), 'Unauthorized');
assert.equal(await client('login', 'ada', 'wrong'), 'Unauthorized');
assert.equal(existsSync(keyFile), false);

assert.equal(await client('login', 'ada', 'engine'), '');
const key = await readFile(keyFile, 'utf8');
await client('add', 'buy tea');
await client('add', 'call Charles');
assert.deepEqual(JSON.parse(await client('notes')), { userId: 'ada', notes: ['buy tea', 'call Charles'] });

await client('logout');
assert.equal(existsSync(keyFile), false);
assert.equal(await client('notes'), 'Unauthorized');
const replay = await fetch(`${url}/notes`, { headers: { authorization: `Bearer ${key}` } });
assert.equal(replay.status, 401);

await rm(directory, { recursive: true });
await stop();
