import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createBenchDatabase } from './bench-database.js';
import { benchRedis, clearRedis, findRedis } from './bench-redis.js';
import { type Contestant, type Places, type Use, uses } from './contestants.js';
import { reportTable, type Results } from './report.js';
import { type Cost, RunningContestant } from './running-contestant.js';

export interface Plan {
  needsRedis: boolean;
  /** Measured ones. */
  rounds: number;
  /** Rounds before these, until what is hot is compiled. */
  warmUpRounds: number;
  /** Of a block, and sessions per contestant. */
  requests: number;
}

/** Prints what every use of a session cost each contestant. Ctrl-C ends it, and leaves nothing behind. */
export async function run(contestants: readonly Contestant[], defaults: Plan): Promise<never> {
  const plan = {
    ...defaults,
    rounds: numberFrom('BENCH_ROUNDS', defaults.rounds),
    requests: numberFrom('BENCH_REQUESTS', defaults.requests),
  };
  const interrupted = new Promise<never>((_resolve, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM']) {
      process.once(signal, () => reject(new Error(`Stopped by ${signal}.`)));
    }
  });
  // Until somebody waits for it: what is under way is finished first.
  interrupted.catch(() => {});

  const cleanUps: (() => Promise<unknown>)[] = [];
  try {
    const places = await createPlaces(plan, cleanUps);
    const running: RunningContestant[] = [];
    cleanUps.push(() => Promise.all(running.map((contestant) => contestant.stop())));
    // One after another, because two would make the same table.
    const measured = (async (): Promise<Results> => {
      for (const contestant of contestants) {
        const started = new RunningContestant(contestant, places);
        running.push(started);
        await started.ready(plan.requests);
      }
      return measure(running, plan);
    })();
    process.stdout.write(`${reportTable(await Promise.race([measured, interrupted]))}\n`);
  } finally {
    for (const cleanUp of cleanUps.toReversed()) {
      // The others have to be done all the same.
      await cleanUp().catch((error: unknown) => process.stderr.write(`${String(error)}\n`));
    }
  }
  // A signal leaves requests behind whose contestants are gone.
  process.exit();
}

async function createPlaces({ needsRedis }: Plan, cleanUps: (() => Promise<unknown>)[]): Promise<Places> {
  const database = await createBenchDatabase();
  cleanUps.push(() => database.drop());
  const directory = await mkdtemp(join(tmpdir(), 'nest-sessions-bench-'));
  cleanUps.push(() => rm(directory, { recursive: true, force: true }));
  if (needsRedis) {
    await findRedis();
    cleanUps.push(clearRedis);
  }
  return { postgres: database.url, redis: benchRedis, directory };
}

async function measure(
  running: readonly RunningContestant[],
  { rounds, warmUpRounds }: Plan,
): Promise<Results> {
  const results = new Map<Contestant, Record<Use, Cost[]>>(
    running.map(({ contestant }) => [contestant, { untouched: [], read: [], write: [] }]),
  );
  for (let round = -warmUpRounds; round < rounds; round++) {
    process.stderr.write(round < 0 ? 'warming up\n' : `round ${round + 1} of ${rounds}\n`);
    for (const use of uses) {
      for (const contestant of rotated(running, round)) {
        const cost = await contestant.measure(use);
        if (round >= 0) results.get(contestant.contestant)?.[use].push(cost);
      }
    }
  }
  return results;
}

/** Everybody comes first, last and after everybody else some time, so that what disturbs one disturbs all. */
function rotated<Item>(items: readonly Item[], by: number): Item[] {
  const start = ((by % items.length) + items.length) % items.length;
  return [...items.slice(start), ...items.slice(0, start)];
}

function numberFrom(variable: string, fallback: number): number {
  const value = Number(process.env[variable] ?? fallback);
  if (Number.isInteger(value) && value > 0) return value;
  throw new Error(`${variable} must be a whole number above zero.`);
}
