// What the `drive.mjs` of every example uses.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

/** Starts `dist/main.js` on a free port, and resolves with its address and a function that stops it. */
export async function start(environment = {}) {
  const app = spawn(process.execPath, ['dist/main.js'], {
    env: { ...process.env, ...environment, PORT: '0' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  process.once('exit', () => app.kill('SIGKILL'));
  const stop = async () => {
    app.kill('SIGTERM');
    if (app.exitCode === null && app.signalCode === null) await once(app, 'exit');
  };
  for await (const line of createInterface(app.stdout)) {
    const url = /http:\S+/.exec(line)?.[0];
    if (!url) continue;
    app.stdout.resume();
    return { url, stop };
  }
  throw new Error('The application has ended without telling its address.');
}

/** A browser, as far as it is needed: it keeps one cookie. */
export class Browser {
  cookie = '';

  constructor(url) {
    this.url = url;
  }

  get(path) {
    return this.#fetch(path, {});
  }

  post(path, body = {}) {
    return this.#fetch(path, {
      method: 'POST',
      body: JSON.stringify(body),
      headers: { 'content-type': 'application/json' },
    });
  }

  async #fetch(path, options) {
    const headers = { ...options.headers, cookie: this.cookie };
    const response = await fetch(this.url + path, { ...options, headers });
    const [cookie] = response.headers.getSetCookie();
    if (cookie) this.cookie = cookie.split(';')[0];
    return response;
  }
}

setTimeout(() => {
  console.error('Not done after two minutes.');
  process.exit(1);
}, 120_000).unref();
