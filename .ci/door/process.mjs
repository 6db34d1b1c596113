import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { delimiter } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

const COMMAND_WITHIN_MS = 600_000;

/** That of somebody who has just opened a terminal: no programs of this checkout, no settings of the demo. */
const environment = { ...process.env, NO_COLOR: '1' };
environment.PATH = process.env.PATH.split(delimiter)
  .filter((path) => !path.includes('node_modules'))
  .join(delimiter);
for (const name of Object.keys(environment)) {
  if (/^(PORT|PLATFORM|DATABASE_URL|REDIS_URL|NODE_ENV|SESSION_\w+)$/.test(name)) delete environment[name];
}

const running = new Set();

export function killAll() {
  for (const program of running) program.signal('SIGKILL');
}

/** Starts a shell command and all that it starts. Together they get signals, as from Ctrl-C in a terminal. */
export function launch(command, cwd, env = {}) {
  const child = spawn(command, {
    cwd,
    env: { ...environment, ...env },
    shell: true,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const program = {
    command,
    output: '',
    /** When the last process has let go of the output. */
    ended: once(child, 'close').then(([code]) => {
      running.delete(program);
      program.code = code;
    }),
    signal: (name) => process.kill(0 - child.pid, name),
  };
  running.add(program);
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => (program.output += text));
  }
  return program;
}

/** Runs a shell command to its end, and resolves with what it printed. */
export async function run(command, cwd, env) {
  const program = launch(command, cwd, env);
  await waitFor('its end', program, COMMAND_WITHIN_MS, () => program.code !== undefined);
  if (program.code !== 0) throw failure(program, `ended with ${program.code}`);
  return program.output;
}

/** As `npm install`, which has nothing to say about this package and those that it may be used with. */
export async function install(command, application) {
  const output = await run(command, application);
  if (/ERESOLVE[^]*nest-sessions@|EBADENGINE\s+package: 'nest-sessions@/.test(output))
    throw failure({ command, output }, 'warns');
}

/** Waits until something is so, and fails when the time is up or when the program has ended before. */
export async function waitFor(what, program, milliseconds, isSo) {
  const deadline = Date.now() + milliseconds;
  while (!(await isSo())) {
    if (program.code !== undefined) throw failure(program, `ended without ${what}`);
    if (Date.now() > deadline) throw failure(program, `has not come to ${what} in ${milliseconds / 1000} s`);
    await delay(50);
  }
}

/** Presses Ctrl-C: all of the program's processes have to go, in peace. */
export async function interrupt(program) {
  const before = program.output.length;
  program.signal('SIGINT');
  await Promise.race([program.ended, delay(10_000)]);
  if (program.code === undefined) throw failure(program, 'still runs 10 s after Ctrl-C');
  if (/error/i.test(program.output.slice(before))) throw failure(program, 'complains about Ctrl-C');
}

export function failure({ command, output }, what) {
  return new Error(`\`${command}\` ${what}. It has printed:\n\n${output}`);
}

export async function freePort() {
  const server = createServer().listen(0);
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}
