/**
 * What sessions cost a request, beside the libraries that are used today and beside sessions by hand. See
 * docs/benchmarks.md.
 *
 *   npm run bench -- [--counts] [group or platform …]
 *   BENCH_PICTURE=docs/images/overhead.svg npm run bench -- fastify
 */
import { writeFileSync } from 'node:fs';
import { type Contestant, contestants, type Use, uses } from './contestants.js';
import { type Cost, type Kind } from './counters.js';
import { numberFrom } from './number-from.js';
import { type CleanUp, createPlaces, type Places } from './places.js';
import { overheadPicture } from './picture.js';
import { countsTable, type Results, timesTable } from './report.js';
import { RunningContestant } from './running-contestant.js';

/** Requests under way at a time where CPU times are measured. */
const CONCURRENCY = 12;
/** Requests of a block where objects and bytes are counted, after so many that what is hot is compiled. */
const [COUNTED_REQUESTS, COUNTED_WARM_UP] = [300, 8];

const plan = {
  /** How often every application is started: the same one differs from start to start. */
  starts: numberFrom('BENCH_STARTS', 2),
  /** Measured ones, of each start. */
  rounds: numberFrom('BENCH_ROUNDS', 5),
  warmUp: numberFrom('BENCH_WARM_UP', 10),
  /** Of a block, and sessions per application. */
  requests: numberFrom('BENCH_REQUESTS', 500),
};

const [counts, selection] = selectionFrom(process.argv.slice(2));
const interrupted = new Promise<never>((_resolve, reject) => {
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.once(signal, () => reject(new Error(`Stopped by ${signal}.`)));
  }
});
// Until somebody waits for it: what is under way is finished first.
interrupted.catch(() => {});

const cleanUps: CleanUp[] = [];
try {
  const measured = counts ? count() : time();
  process.stdout.write(`${await Promise.race([measured, interrupted])}\n`);
} finally {
  for (const cleanUp of cleanUps.toReversed()) {
    // The others have to be done all the same.
    await cleanUp().catch((error: unknown) => process.stderr.write(`${String(error)}\n`));
  }
}
// A signal leaves requests behind whose applications are gone.
process.exit();

/** Times of all, interleaved: what disturbs one disturbs all. */
async function time(): Promise<string> {
  const { starts, rounds, warmUp, requests } = plan;
  const places = await createPlaces(cleanUps);
  const results = noResults();
  for (let start = 1; start <= starts; start++) {
    const running: RunningContestant[] = [];
    const stop: CleanUp = () => Promise.all(running.map((each) => each.stop()));
    cleanUps.push(stop);
    for (const contestant of selection) running.push(await open(contestant, places, CONCURRENCY, requests));
    for (let round = 1 - warmUp; round <= rounds; round++) {
      process.stderr.write(`start ${start} of ${starts}, round ${round} of ${rounds}\n`);
      for (const use of uses) {
        // Another one begins each time.
        for (const each of rotated(running, round)) {
          const cost = await each.measure(use, 'cpu');
          if (round > 0) results.get(each.contestant)?.[use].push(cost);
        }
      }
    }
    await stop();
  }
  const { BENCH_PICTURE: picture } = process.env;
  if (picture !== undefined) {
    const platform = selection.some((contestant) => contestant.platform === 'fastify')
      ? 'fastify'
      : 'express';
    writeFileSync(picture, overheadPicture(results, platform));
  }
  return timesTable(results);
}

/** One application after the other, one request at a time: the figures do not depend on the machine. */
async function count(): Promise<string> {
  const places = await createPlaces(cleanUps);
  const results = noResults();
  for (const contestant of selection) {
    process.stderr.write(`${contestant.platform}, ${contestant.library}\n`);
    const application = await open(contestant, places, 1, COUNTED_REQUESTS);
    for (let round = 0; round < COUNTED_WARM_UP; round++) {
      for (const use of uses) await application.measure(use, 'cpu');
    }
    for (const use of uses) {
      const costs: Partial<Record<Kind, Cost>> = {};
      for (const kind of ['bytes', 'cpu', 'objects'] as const) {
        costs[kind] = await application.measure(use, kind);
      }
      const { promises, timers, sql, redis } = costs.objects as Cost;
      const { bytes } = costs.bytes as Cost;
      const { cpu } = costs.cpu as Cost;
      results.get(contestant)?.[use].push({ promises, timers, sql, redis, bytes, cpu });
    }
    await application.stop();
  }
  return countsTable(results);
}

async function open(
  contestant: Contestant,
  places: Places,
  concurrency: number,
  visitors: number,
): Promise<RunningContestant> {
  const application = new RunningContestant(contestant, places, concurrency);
  cleanUps.push(() => application.stop());
  await application.ready(visitors);
  return application;
}

function noResults(): Map<Contestant, Record<Use, Cost[]>> & Results {
  return new Map(selection.map((contestant) => [contestant, { untouched: [], read: [], write: [] }]));
}

/** @param words names of groups and of platforms: of each kind those named, or all */
function selectionFrom(words: readonly string[]): [counts: boolean, Contestant[]] {
  const names = words.filter((word) => word !== '--counts');
  const groups = new Set<string>(contestants.map(({ group }) => group));
  const platforms = new Set<string>(['express', 'fastify']);
  const unknown = names.find((name) => !groups.has(name) && !platforms.has(name));
  if (unknown !== undefined) {
    throw new Error(`There is no "${unknown}". Name some of: ${[...groups, ...platforms].join(', ')}.`);
  }
  const wants = (known: Set<string>, name: string): boolean =>
    names.includes(name) || !names.some((word) => known.has(word));
  const selected = contestants.filter(
    ({ group, platform }) => wants(platforms, platform) && (group === 'bare' || wants(groups, group)),
  );
  return [words.includes('--counts'), selected];
}

function rotated<Item>(items: readonly Item[], by: number): Item[] {
  const start = ((by % items.length) + items.length) % items.length;
  return [...items.slice(start), ...items.slice(0, start)];
}
