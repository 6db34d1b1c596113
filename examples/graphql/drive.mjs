import assert from 'node:assert/strict';
import { createClient } from 'graphql-ws';
import { WebSocket } from 'ws';
import { Browser, start } from '../support.mjs';

const { url, stop } = await start();
const browser = new Browser(url);

async function overHttp(query) {
  const { data, errors } = await (await browser.post('/graphql', { query })).json();
  return data ?? errors[0].message;
}

/** A client whose operations all go over one socket. */
function connect() {
  class WithCookie extends WebSocket {
    constructor(address, protocols) {
      super(address, protocols, { headers: { cookie: browser.cookie } });
    }
  }
  return createClient({
    url: `${url.replace('http', 'ws')}/graphql`,
    webSocketImpl: WithCookie,
    lazy: false,
    retryAttempts: 0,
  });
}

assert.deepEqual(await overHttp('{ me }'), { me: null });
assert.equal(await overHttp('mutation { say(text: "hello") }'), 'Unauthorized');
const stranger = connect();
const refusal = await stranger.iterate({ query: 'subscription { message { text } }' }).next();
assert.equal(refusal.value.errors[0].message, 'Unauthorized');
await stranger.dispose();

await overHttp('mutation { login(name: "ada", password: "engine") }');
assert.deepEqual(await overHttp('{ me }'), { me: 'ada' });

const client = connect();
const overSocket = async (query) => (await client.iterate({ query }).next()).value.data;
assert.deepEqual(await overSocket('{ me }'), { me: 'ada' });

const messages = client.iterate({ query: 'subscription { message { author text seen } }' });
let isThere = false;
const first = messages.next().finally(() => (isThere = true));
// Nothing tells a client that its subscription has begun, so it talks until it hears itself.
let sent = 0;
while (!isThere) {
  assert.deepEqual(await overSocket('mutation { say(text: "hello") }'), { say: ++sent });
}
assert.deepEqual((await first).value.data, { message: { author: 'ada', text: 'hello', seen: 1 } });

assert.deepEqual(await overHttp('mutation { say(text: "bye") }'), { say: sent + 1 });
let message;
let seen = 1;
do {
  ({ message } = (await messages.next()).value.data);
  assert.equal(message.seen, ++seen);
} while (message.text !== 'bye');

const end = messages.next();
await overHttp('mutation { logout }');
assert.equal((await end).done, true);

await client.dispose();
await stop();
