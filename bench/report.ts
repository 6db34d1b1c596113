import { type Contestant, uses, type Use } from './contestants.js';
import { type Operations } from './messages.js';
import { type Cost } from './running-contestant.js';

/** What each contestant spent, by use: one cost per round. */
export type Results = ReadonlyMap<Contestant, Readonly<Record<Use, readonly Cost[]>>>;

interface Row {
  contestant: Contestant;
  cpu: number;
  operations: Operations;
  /** CPU microseconds above the bare application of the platform: quartiles of the rounds' differences. */
  above: readonly [number, number, number];
  /** The middle one of these as a share of the bare application. */
  share: number;
}

/** A Markdown table. Everything in it is a median of the rounds; differences are taken within a round. */
export function reportTable(results: Results): string {
  const lines = [
    [
      'request',
      'application',
      'CPU µs',
      'above bare µs',
      '(quartiles)',
      'above bare',
      'of the peer’s',
      'store',
    ],
    ['---', '---', '--:', '--:', ':-:', '--:', '--:', '---'],
  ];
  for (const use of uses) {
    const rows = [...results.keys()].map((contestant) => rowOf(contestant, use, results));
    for (const row of rows) {
      const { contestant, cpu, operations, above, share } = row;
      const bare = contestant.keeper === 'none';
      const [low, middle, high] = above;
      lines.push([
        use,
        `${contestant.platform}, ${bare ? 'bare' : contestant.keeper}`,
        cpu.toFixed(0),
        bare ? '' : middle.toFixed(1),
        bare ? '' : `${low.toFixed(1)} … ${high.toFixed(1)}`,
        bare ? '' : `${(share * 100).toFixed(1)} %`,
        ratioToPeer(row, rows),
        bare ? '' : textOf(operations),
      ]);
    }
  }
  return lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

function rowOf(contestant: Contestant, use: Use, results: Results): Row {
  const bareOne = [...results.keys()].find(
    ({ platform, keeper }) => platform === contestant.platform && keeper === 'none',
  );
  const costs = costsOf(results, contestant, use);
  const bare = costsOf(results, bareOne, use).map(({ cpu }) => cpu);
  const above = costs.map(({ cpu }, round) => cpu - (bare[round] as number));
  return {
    contestant,
    cpu: median(costs.map(({ cpu }) => cpu)),
    operations: {
      SQL: median(costs.map(({ operations }) => operations.SQL)),
      Redis: median(costs.map(({ operations }) => operations.Redis)),
    },
    above: [quantile(above, 0.25), median(above), quantile(above, 0.75)],
    share: median(above) / median(bare),
  };
}

/** Nothing where the peer's own time cannot be told from nothing. */
function ratioToPeer({ contestant, above }: Row, rows: readonly Row[]): string {
  const peer = rows.find(
    (row) => row.contestant.platform === 'express' && row.contestant.keeper === contestant.peer,
  );
  return peer && peer.above[0] > 0 ? (above[1] / peer.above[1]).toFixed(2) : '';
}

function textOf(operations: Operations): string {
  const sent = Object.entries(operations).filter(([, count]) => count >= 0.005);
  return sent.map(([kind, count]) => `${count.toFixed(2)} ${kind}`).join(', ') || '0';
}

function costsOf(results: Results, contestant: Contestant | undefined, use: Use): readonly Cost[] {
  return (contestant && results.get(contestant)?.[use]) ?? [];
}

function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const place = share * (sorted.length - 1);
  const [below, above] = [sorted[Math.floor(place)], sorted[Math.ceil(place)]] as [number, number];
  return below + (above - below) * (place - Math.floor(place));
}
