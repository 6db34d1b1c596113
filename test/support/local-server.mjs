import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';
import { chown, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';

const READY_WITHIN_MS = 100_000;

const run = promisify(execFile);

/** The path of the first of `names` found in PATH or in one of `directories`, or undefined. */
export function findBinary(names, directories = []) {
  const searched = [...(process.env.PATH ?? '').split(delimiter), ...directories];
  const candidates = searched.flatMap((directory) => names.map((name) => join(directory, name)));
  return candidates.find((path) => isExecutable(path));
}

/**
 * Prepares a data directory, starts a server on it and waits until it answers.
 *
 * @param {object} server
 * @param {string} server.osUser whom the server runs as when this process is root
 * @param {(directory: string) => [string, string[]]} server.prepare the command that fills the data directory
 * @param {(directory: string, port: number) => [string, string[]]} server.serve the command that serves it
 * @param {NodeJS.Signals} server.stopSignal the one by which it stops at once, its connections notwithstanding
 * @param {(port: number) => string} server.urlOf
 * @param {(url: string) => Promise<void>} server.ping
 */
export async function startServer({ osUser, prepare, serve, stopSignal, urlOf, ping }) {
  const identity = await identityOf(osUser);
  const directory = await mkdtemp(join(tmpdir(), 'nest-sessions-test-'));
  let server;
  const stop = async () => {
    await server?.end();
    await rm(directory, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    if (identity.uid !== undefined) await chown(directory, identity.uid, identity.gid);
    const port = await freePort();
    const options = { ...identity, cwd: directory };
    await run(...prepare(directory), options);
    server = launch(...serve(directory, port), options, stopSignal);
    const url = urlOf(port);
    await untilReady(server.child, () => ping(url));
    return { url, pid: server.child.pid, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The server does not outlive this process, however that ends. */
function launch(command, args, options, stopSignal) {
  const child = spawn(command, args, { ...options, stdio: 'ignore' });
  const exited = once(child, 'exit');
  const signal = () => child.kill(stopSignal);
  process.once('exit', signal);
  const end = async () => {
    signal();
    await exited;
    process.removeListener('exit', signal);
  };
  return { child, end };
}

async function untilReady(child, ping) {
  const deadline = Date.now() + READY_WITHIN_MS;
  for (;;) {
    try {
      return await ping();
    } catch (cause) {
      if (child.exitCode !== null) {
        throw new Error(`${child.spawnfile} stopped with exit code ${child.exitCode}`, { cause });
      }
      if (Date.now() > deadline) throw new Error(`${child.spawnfile} did not answer in time`, { cause });
      await delay(50);
    }
  }
}

/** Database servers refuse to run as root, so root lends them the user their package made. */
async function identityOf(osUser) {
  if (process.getuid?.() !== 0) return {};
  const [uid, gid] = await Promise.all([run('id', ['-u', osUser]), run('id', ['-g', osUser])]);
  return { uid: Number(uid.stdout), gid: Number(gid.stdout) };
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

export function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
