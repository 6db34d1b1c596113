// What somebody does who has just heard of nest-sessions, in throw-away folders: `npm run check:door [-- <folder>]`.
// A folder that is named has to be empty and is kept, with the clone of the project in it.
import assert from 'node:assert/strict';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findServer } from '../../test/support/service-discovery.mjs';
import { postgres } from '../../test/support/postgres.mjs';
import { packageFaults } from './package-faults.mjs';
import { failure, freePort, install, interrupt, killAll, launch, run, waitFor } from './process.mjs';
import { readmeCommand, readmeInstallation } from './readme-command.mjs';
import { step } from './step.mjs';
import { answers, Visitor } from './visitor.mjs';

const FIRST_WORDS_WITHIN_MS = 10_000;
const ANSWER_WITHIN_MS = 60_000;

/** With what the README says to install, and where Nest is the older one, with the oldest TypeORM that is supported as well. */
const applications = [{ nest: 11, oldestTypeorm: '0.3.20' }, { nest: 12 }];

/** What an application may have that uses none of it for its sessions. */
const strangers = {
  '@nestjs/common': '11',
  '@nestjs/core': '11',
  'reflect-metadata': '0.1',
  rxjs: '7',
  'cache-manager': '5',
  cron: '3',
  redis: '4',
  typeorm: '0.3.10',
};

const repository = join(import.meta.dirname, '../..');
const directory = process.argv[2] ?? (await mkdtemp(join(tmpdir(), 'nest-sessions-door-')));
const clone = join(directory, 'clone');
const cleanUps = process.argv[2] ? [] : [() => rm(directory, { recursive: true, force: true })];
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => void end(1));

try {
  await fromClone();
  const tarball = await packed();
  await besideStrangers(tarball);
  const server = await database();
  for (const application of applications) await scaffolded({ ...application, tarball, server });
  await end(0);
} catch (error) {
  console.error(`\n${error.message}`);
  await end(1);
}

async function end(code) {
  killAll();
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
  process.exit(code);
}

/** The commit, and what the README tells to do with it: to install, and to start the demo. */
async function fromClone() {
  await step('git clone', () => run(`git clone --quiet "${repository}" "${clone}"`, directory));
  const [installation, start] = readmeCommand('npm start', join(clone, 'README.md')).split(' && ');
  const began = performance.now();
  await step(`${installation}, without a warning`, async () => {
    const output = await run(installation, clone);
    if (/npm warn/i.test(output)) throw failure({ command: installation, output }, 'warns');
  });
  // A minute, unless the machine is so busy that even the installation took longer.
  const allowed = Math.max(ANSWER_WITHIN_MS, performance.now() - began);
  const port = await freePort();
  const url = `http://localhost:${port}`;
  const program = await step(`${start}, says at once what it does, and answers in time`, async () => {
    const launched = launch(start, clone, { PORT: String(port) });
    await waitFor('words of its own', launched, FIRST_WORDS_WITHIN_MS, () =>
      launched.output.split('\n').some((line) => line !== '' && !line.startsWith('>')),
    );
    await waitFor('an answer', launched, allowed, () => answers(url));
    return launched;
  });
  await step('a login on the demo', async () => {
    const visitor = new Visitor(url);
    assert.equal((await visitor.get('/secret')).headers.get('location'), '/login');
    await visitor.post('/login', { name: 'ada', password: 'password' });
    assert.equal((await visitor.get('/secret')).status, 200);
  });
  await step('Ctrl-C', () => interrupt(program));
}

/** The package as npm would publish it. Resolves with the path of its file. */
async function packed() {
  const destination = join(directory, 'packed');
  await mkdir(destination);
  await step('npm pack', () =>
    run(`npm pack --silent --workspace nest-sessions --pack-destination "${destination}"`, clone),
  );
  const [name] = await readdir(destination);
  const tarball = join(destination, name);
  await step('pages, links and maps of the package', async () => {
    await run(`tar -xzf "${tarball}"`, destination);
    assert.deepEqual(packageFaults(join(destination, 'package'), clone), []);
  });
  await step('publint', () => run(`npx publint run --strict "${tarball}"`, clone));
  await step('attw', () => run(`npx attw "${tarball}"`, clone));
  return tarball;
}

async function besideStrangers(tarball) {
  const application = join(directory, 'strangers');
  await mkdir(application);
  const dependencies = { ...strangers, 'nest-sessions': `file:${tarball}` };
  await writeFile(join(application, 'package.json'), JSON.stringify({ dependencies }));
  await step('npm install beside versions that no engine supports', () =>
    install('npm install --package-lock-only --ignore-scripts', application),
  );
}

/** A server for the applications. Without one they run on an SQLite of their own, and CI fails. */
async function database() {
  const server = await findServer(postgres);
  if (server?.stop) cleanUps.push(server.stop);
  if (server) return server;
  const remedy = `To run it: docker compose up -d --wait, or set ${postgres.urlVariable}.`;
  if (process.env.CI) throw new Error(`There is no PostgreSQL. ${remedy}`);
  console.log(`SKIPPED, no PostgreSQL: the migration. ${remedy}`);
  return undefined;
}

/** The sources in `application/`, in what the Nest CLI makes of `nest new`. */
async function scaffolded({ nest, oldestTypeorm, tarball, server }) {
  const name = `nest-${nest}`;
  const application = join(directory, name);
  const inside = (title, work) => step(`Nest ${nest}: ${title}`, work);

  await inside('nest new', () =>
    run(
      `npx --yes @nestjs/cli@${nest} new ${name} --skip-git --skip-install --package-manager npm`,
      directory,
    ),
  );
  for (const command of readmeInstallation(nest, join(clone, 'README.md'))) {
    // The package is not published yet.
    await inside(command, () => install(command.replace(/\bnest-sessions\b/, `"${tarball}"`), application));
  }
  await inside('a driver, and Fastify', () =>
    install(`npm install pg @nestjs/platform-fastify@${nest}`, application),
  );
  await addSources(application);

  if (nest === 11) {
    await inside('types, in CommonJS with node16 and with node10', async () => {
      const { compilerOptions } = JSON.parse(await readFile(join(application, 'tsconfig.json'), 'utf8'));
      assert.equal(compilerOptions.module, 'nodenext');
      await run('npx tsc --noEmit --module node16 --moduleResolution node16', application);
      const classic = '--module commonjs --moduleResolution node10 --resolvePackageJsonExports false';
      await run(`npx tsc --noEmit ${classic}`, application);
    });
    await inside('require() and import() give the same classes', () =>
      run(
        `node -e "import('nest-sessions').then((m) => assert.equal(m.SessionModule, require('nest-sessions').SessionModule))"`,
        application,
      ),
    );
  }
  await itsOwnTests(inside, application);
  if (oldestTypeorm) {
    await inside(`npm install typeorm@${oldestTypeorm}`, () =>
      install(`npm install typeorm@${oldestTypeorm}`, application),
    );
    await itsOwnTests(inside, application);
  }
  await inside('npm run build', () => run('npm run build', application));

  const environment = server ? { DATABASE_URL: await createDatabase(server, nest) } : {};
  if (server) {
    const migration = (command) =>
      run(`npx typeorm migration:${command} -d dist/data-source.js`, application, environment);
    await inside('typeorm migration:run, migration:revert', async () => {
      await migration('run');
      await migration('revert');
      await migration('run');
    });
  }
  for (const platform of ['express', 'fastify']) {
    await inside(`npm run start:prod, on ${platform}`, async () => {
      const port = String(await freePort());
      const program = launch('npm run start:prod', application, {
        ...environment,
        PORT: port,
        PLATFORM: platform,
      });
      const url = `http://localhost:${port}`;
      await waitFor('an answer', program, ANSWER_WITHIN_MS, () => answers(url));
      await visit(url);
      await interrupt(program);
    });
  }
}

async function itsOwnTests(inside, application) {
  for (const [script, spec] of [
    ['npm test', 'session.controller.spec.ts'],
    ['npm run test:e2e', 'session.e2e-spec.ts'],
  ]) {
    await inside(script, async () => {
      const output = await run(script, application);
      if (!output.includes(spec)) throw failure({ command: script, output }, `has not run ${spec}`);
    });
  }
}

/** In CommonJS, relative imports are written without an extension, as `nest new` writes them. */
async function addSources(application) {
  await cp(join(import.meta.dirname, 'application'), application, { recursive: true });
  const { type } = JSON.parse(await readFile(join(application, 'package.json'), 'utf8'));
  if (type === 'module') return;
  for (const folder of ['src', 'test']) {
    for (const name of await readdir(join(application, folder))) {
      const file = join(application, folder, name);
      const text = await readFile(file, 'utf8');
      await writeFile(file, text.replaceAll(/(from '\.{1,2}\/.*)\.js'/g, "$1'"));
    }
  }
}

async function createDatabase(server, nest) {
  const name = `nest_sessions_door_${process.pid}_${nest}`;
  const url = await postgres.createDatabase(server.url, name);
  if (!server.stop) cleanUps.push(() => postgres.dropDatabase(server.url, name));
  return url;
}

async function visit(url) {
  const visitor = new Visitor(url);
  const mine = async () => {
    const response = await visitor.get('/mine');
    return response.ok ? response.json() : response.status;
  };
  assert.deepEqual(await (await visitor.post('/visit')).json(), { visits: 1 });
  assert.deepEqual(await (await visitor.post('/visit')).json(), { visits: 2 });
  assert.equal(await mine(), 401);
  await visitor.post('/login', { name: 'ada' });
  assert.deepEqual(await mine(), { userId: 'ada', visits: 2 });
  await visitor.post('/logout');
  assert.equal(await mine(), 401);
}
