import assert from 'node:assert/strict';
import { Browser, start } from '../support.mjs';

const { url, stop } = await start();
const browser = new Browser(url);

assert.deepEqual(await (await browser.post('/visit')).json(), { visits: 1 });
const anonymous = browser.cookie;
assert.equal((await browser.get('/me')).status, 401);

assert.equal((await browser.post('/login', { name: 'ada', password: 'wrong' })).status, 401);
assert.equal((await browser.post('/login', { name: 'ada', password: 'engine' })).status, 204);
assert.notEqual(browser.cookie, anonymous);
assert.deepEqual(await (await browser.get('/me')).json(), { userId: '1', name: 'ada', visits: 1 });

const loggedIn = browser.cookie;
assert.equal((await browser.post('/logout')).status, 204);
browser.cookie = loggedIn;
assert.equal((await browser.get('/me')).status, 401);

await stop();
