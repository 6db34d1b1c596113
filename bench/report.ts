import { BARE, type Contestant, type Platform, uses, type Use } from './contestants.js';
import { type Cost } from './counters.js';

/** What each contestant spent, by use: one cost per round. */
export type Results = ReadonlyMap<Contestant, Readonly<Record<Use, readonly Cost[]>>>;

type Quartiles = readonly [number, number, number];

/**
 * A Markdown table of CPU times. Everything in it is a median of the rounds. "Above bare" is the difference to the bare
 * application of the platform in the same round.
 */
export function timesTable(results: Results): string {
  const table = [
    ['request', 'application', 'CPU µs', 'above bare', '(quartiles)', 'of the peer', 'of the floor', 'sent'],
    ['---', '---', '--:', '--:', ':-:', '--:', '--:', '---'],
  ];
  forEachRow(results, (use, contestant) => {
    const above = aboveBare(results, contestant, use, 'cpu');
    const [low, middle, high] = quartiles(above);
    const bare = contestant.library === BARE;
    table.push([
      use,
      `${contestant.platform}, ${contestant.library}`,
      median(valuesOf(results, contestant, use, 'cpu')).toFixed(0),
      bare ? '' : middle.toFixed(0),
      bare ? '' : `${low.toFixed(0)} … ${high.toFixed(0)}`,
      ratio(results, contestant, contestant.peer, use),
      ratio(results, contestant, contestant.floor, use),
      contestant.group === 'bare' ? '' : sentBy(results, contestant, use),
    ]);
  });
  return markdown(table);
}

/** A Markdown table of what can be counted, per request and above bare. */
export function countsTable(results: Results): string {
  const table = [
    ['request', 'application', 'promises', 'timers', 'kB', 'sent'],
    ['---', '---', '--:', '--:', '--:', '---'],
  ];
  forEachRow(results, (use, contestant) => {
    if (contestant.library === BARE) return;
    const above = (of: keyof Cost): number => median(aboveBare(results, contestant, use, of));
    table.push([
      use,
      `${contestant.platform}, ${contestant.library}`,
      above('promises').toFixed(1),
      above('timers').toFixed(1),
      (above('bytes') / 1000).toFixed(1),
      contestant.group === 'bare' ? '' : sentBy(results, contestant, use),
    ]);
  });
  return markdown(table);
}

function forEachRow(results: Results, row: (use: Use, contestant: Contestant) => void): void {
  for (const use of uses) for (const contestant of results.keys()) row(use, contestant);
}

export function aboveBare(results: Results, contestant: Contestant, use: Use, of: keyof Cost): number[] {
  const bare = valuesOf(results, find(results, contestant.platform, BARE), use, of);
  return valuesOf(results, contestant, use, of).map((value, round) => value - (bare[round] as number));
}

/** Of what one contestant has above bare to what another has. Nothing where that cannot be told from nothing. */
function ratio(results: Results, contestant: Contestant, other: string | undefined, use: Use): string {
  if (other === undefined) return '';
  const compared = find(results, contestant.platform, other) ?? find(results, 'express', other);
  if (!compared) return '';
  const [low, middle] = quartiles(aboveBare(results, compared, use, 'cpu'));
  return low > 0 ? (median(aboveBare(results, contestant, use, 'cpu')) / middle).toFixed(2) : '';
}

export function find(results: Results, platform: Platform, library: string): Contestant | undefined {
  return [...results.keys()].find(
    (contestant) => contestant.platform === platform && contestant.library === library,
  );
}

function sentBy(results: Results, contestant: Contestant, use: Use): string {
  const kinds = [
    ['sql', 'SQL'],
    ['redis', 'Redis'],
  ] as const;
  const sent = kinds
    .map(([kind, name]) => ({ name, count: median(valuesOf(results, contestant, use, kind)) }))
    .filter(({ count }) => count >= 0.005);
  return sent.map(({ name, count }) => `${count.toFixed(2)} ${name}`).join(', ') || '0';
}

function valuesOf(results: Results, contestant: Contestant | undefined, use: Use, of: keyof Cost): number[] {
  return ((contestant && results.get(contestant)?.[use]) ?? []).map((cost) => cost[of]);
}

export function median(values: readonly number[]): number {
  return quartiles(values)[1];
}

export function quartiles(values: readonly number[]): Quartiles {
  const sorted = values.toSorted((a, b) => a - b);
  const [low, middle, high] = [0.25, 0.5, 0.75].map((share) => {
    const place = share * (sorted.length - 1);
    const [below, above] = [sorted[Math.floor(place)] ?? NaN, sorted[Math.ceil(place)] ?? NaN];
    return below + (above - below) * (place - Math.floor(place));
  }) as unknown as Quartiles;
  return [low, middle, high];
}

export function markdown(table: readonly (readonly string[])[]): string {
  return table.map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}
