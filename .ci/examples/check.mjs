// Every example, as somebody who copies it finds it, with the package as npm would publish it:
// `npm run check:examples [-- <name> …]`.
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
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

/** The package is not published yet. No example needs the scripts of its packages, and Prisma's download engines. */
function installed(name, tarball) {
  const installation = install(
    `npm install --ignore-scripts --no-audit --no-fund "${tarball}"`,
    join(examples, name),
  );
  installation.catch(() => {}); // it is reported when its turn comes
  return installation;
}

async function check(name) {
  await buildAndDrive(name);
  if (!name.endsWith(NEST_11)) return;
  await makeCommonJs(join(examples, name));
  await buildAndDrive(name, ', in CommonJS');
}

async function buildAndDrive(name, how = '') {
  const example = join(examples, name);
  await step(`${name}: npm run build${how}`, () => run('npm run build', example, environment));
  await step(`${name}: npm run drive${how}`, () => run('npm run drive', example));
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
