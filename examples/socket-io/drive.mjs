import assert from 'node:assert/strict';
import { once } from 'node:events';
import { io } from 'socket.io-client';
import { Browser, start } from '../support.mjs';

const { url, stop } = await start();
const browser = new Browser(url);

async function connect() {
  const socket = io(url, { forceNew: true, extraHeaders: { cookie: browser.cookie } });
  await once(socket, 'connect');
  return socket;
}

const stranger = await connect();
const refused = once(stranger, 'exception');
stranger.emit('whoami');
assert.equal((await refused)[0].message, 'Unauthorized');
stranger.close();

await browser.post('/login', { name: 'ada', password: 'engine' });
const socket = await connect();
assert.equal(await socket.emitWithAck('whoami'), 'ada');
assert.deepEqual(await socket.emitWithAck('add', 'tea'), ['tea']);
assert.deepEqual(await socket.emitWithAck('add', 'milk'), ['tea', 'milk']);
assert.deepEqual(await (await browser.get('/cart')).json(), ['tea', 'milk']);

const closed = once(socket, 'disconnect');
await browser.post('/logout');
assert.equal((await closed)[0], 'io server disconnect');

await stop();
