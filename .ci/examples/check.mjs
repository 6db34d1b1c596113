// Every example, as somebody who copies it finds it, with the package as npm would publish it:
// `npm run check:examples [-- <name> …]`.
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { mysql } from '../../test/support/mysql.mjs';
import { postgres } from '../../test/support/postgres.mjs';
import { findServer } from '../../test/support/service-discovery.mjs';
import { install, killAll, run } from '../door/process.mjs';
import { step } from '../door/step.mjs';

const NEST_11 = '-nest-11';

const repository = join(import.meta.dirname, '../..');
const directory = await mkdtemp(join(tmpdir(), 'nest-sessions-examples-'));
const examples = join(directory, 'examples');
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => void end(1));

/** Those that are checked with Nest 11 as well. With controllers, the check of the front door does it. */
const onNest11 = ['socket-io', 'graphql'];

/** Prisma generates its client without an engine, but downloads one first unless it is told where one is. */
const environment = { PRISMA_SCHEMA_ENGINE_BINARY: process.execPath, CHECKPOINT_DISABLE: '1' };

/** The example that needs databases, and a package whose code has to be compiled where it cannot be downloaded. */
const SQL_CLIENTS = 'sql-clients';
const NATIVE = 'better-sqlite3';
/** It takes a third of the time without optimization. */
const QUICKLY = { CFLAGS: '-O0', CXXFLAGS: '-O0' };

/** What is to be taken back at the end. */
const cleanUps = [];

try {
  const tarball = await packed();
  await cp(join(repository, 'examples'), examples, {
    recursive: true,
    filter: (path) => !['node_modules', 'dist', 'generated', 'package-lock.json'].includes(basename(path)),
  });
  const names = await named();
  for (const name of onNest11.filter((each) => names.includes(each))) names.push(await copyForNest11(name));
  // While an example is built and driven, the next one is installed: the seconds are those of waiting for it.
  let next = installed(names[0], tarball);
  for (const [index, name] of names.entries()) {
    const installation = next;
    await step(`${name}: npm install`, () => installation);
    if (index + 1 < names.length) next = installed(names[index + 1], tarball);
    await check(name);
  }
  await end(0);
} catch (error) {
  console.error(`\n${error.message}`);
  await end(1);
}

async function end(code) {
  killAll();
  for (const cleanUp of cleanUps.splice(0)) await cleanUp();
  await rm(directory, { recursive: true, force: true });
  process.exit(code);
}

async function packed() {
  await step('npm pack', () =>
    run(`npm pack --silent --workspace nest-sessions --pack-destination "${directory}"`, repository),
  );
  const name = (await readdir(directory)).find((file) => file.endsWith('.tgz'));
  return join(directory, name);
}

/** The examples that the command names, or all of them. */
async function named() {
  if (process.argv.length > 2) return process.argv.slice(2);
  const entries = await readdir(examples, { withFileTypes: true });
  return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
}

/** The package is not published yet. Scripts of packages are not run, because Prisma's download engines. */
function installed(name, tarball) {
  const example = join(examples, name);
  const command = `npm install --ignore-scripts --no-audit --no-fund "${tarball}"`;
  const installation = install(command, example).then(() => name === SQL_CLIENTS && compiled(example));
  installation.catch(() => {}); // it is reported when its turn comes
  return installation;
}

/** Where there is no compiler either, the example says what it does not test. */
function compiled(example) {
  return run(`npm rebuild ${NATIVE}`, example, QUICKLY).catch(() => {});
}

async function check(name) {
  const urls = name === SQL_CLIENTS ? await databases() : {};
  await buildAndDrive(name, urls);
  if (!name.endsWith(NEST_11)) return;
  await makeCommonJs(join(examples, name));
  await buildAndDrive(name, urls, ', in CommonJS');
}

async function buildAndDrive(name, urls, how = '') {
  const example = join(examples, name);
  await step(`${name}: npm run build${how}`, () => run('npm run build', example, environment));
  const output = await step(`${name}: npm run drive${how}`, () => run('npm run drive', example, urls));
  for (const [line] of output.matchAll(/^SKIPPED: .*$/gm)) console.log(line);
}

/** New databases, in the variables that the example reads. Where a server is missing, CI fails. */
async function databases() {
  const urls = {};
  for (const [variable, service] of [
    ['POSTGRES_URL', postgres],
    ['MYSQL_URL', mysql],
  ]) {
    const server = await findServer(service);
    if (server === undefined && process.env.CI) {
      throw new Error(
        `There is no ${service.label}. Run docker compose up -d --wait, or set ${service.urlVariable}.`,
      );
    }
    if (server === undefined) continue;
    const name = `nest_sessions_examples_${process.pid}`;
    urls[variable] = await service.createDatabase(server.url, name);
    cleanUps.push(server.stop ?? (() => service.dropDatabase(server.url, name)));
  }
  return urls;
}

/** All packages of Nest as they were one major version before. */
async function copyForNest11(name) {
  const copy = name + NEST_11;
  await cp(join(examples, name), join(examples, copy), { recursive: true });
  await change(join(examples, copy, 'package.json'), (text) =>
    text.replaceAll(/("@nestjs\/.*": ")\^(\d+).*"/g, (_, before, major) => `${before}${major - 1}"`),
  );
  return copy;
}

/** As applications of Nest 11 are: `main.ts` cannot wait at its top level. */
async function makeCommonJs(example) {
  await rm(join(example, 'dist'), { recursive: true });
  await change(join(example, 'package.json'), (text) =>
    text.replace('"type": "module"', '"type": "commonjs"'),
  );
  await change(join(example, 'src/main.ts'), (text) =>
    text.replace(/\n\n(.*)$/s, '\n\nasync function bootstrap() {\n$1}\nvoid bootstrap();\n'),
  );
}

async function change(file, edit) {
  const text = await readFile(file, 'utf8');
  const edited = edit(text);
  if (edited === text) throw new Error(`Nothing to change in ${file}.`);
  await writeFile(file, edited);
}
