// node client.mjs login <name> <password> | notes | add <note> | logout
import { readFile, rm, writeFile } from 'node:fs/promises';

const server = process.env.SERVER ?? 'http://localhost:3000';
const keyFile = process.env.KEY_FILE ?? '.session-key';

const [command, ...words] = process.argv.slice(2);
const commands = {
  login: () => call('POST', '/login', { name: words[0], password: words[1] }),
  notes: () => call('GET', '/notes'),
  add: () => call('POST', '/notes', { note: words.join(' ') }),
  logout: () => call('POST', '/logout', {}),
};
if (!commands[command]) throw new Error(`There are: ${Object.keys(commands).join(', ')}`);
const response = await commands[command]();
console.log(response.ok ? await response.text() : response.statusText);
if (!response.ok) process.exitCode = 1;

/** Sends the key, and keeps another one when the answer brings it. */
async function call(method, path, body) {
  const key = await readFile(keyFile, 'utf8').catch(() => '');
  const answer = await fetch(server + path, {
    method,
    headers: {
      ...(key && { authorization: `Bearer ${key}` }),
      ...(body && { 'content-type': 'application/json' }),
    },
    ...(body && { body: JSON.stringify(body) }),
  });
  const newKey = answer.headers.get('session-key');
  if (newKey) await writeFile(keyFile, newKey, { mode: 0o600 });
  if (newKey === '') await rm(keyFile, { force: true }); // the session has ended
  return answer;
}
