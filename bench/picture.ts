import { type Contestant, type Platform, uses, type Use } from './contestants.js';
import { aboveBare, find, median, type Results } from './report.js';

const [WIDTH, LEFT, RIGHT, BAR, GAP, TOP] = [760, 300, 60, 14, 14, 64];

interface Bar {
  name: string;
  /** CPU µs above bare. */
  value: number;
  ours: boolean;
}

/**
 * The CPU time that sessions add to a request of each kind, ours above its peer: an SVG of its own, readable on a light
 * page and on a dark one.
 */
export function overheadPicture(results: Results, platform: Platform): string {
  const kinds = uses.filter((use) => use !== 'untouched');
  const groups = kinds.map((use) => ({ use, pairs: pairsOf(results, platform, use) }));
  const longest = Math.max(...groups.flatMap(({ pairs }) => pairs.flat()).map(({ value }) => value));
  const lines: string[] = [];
  let y = TOP;
  for (const { use, pairs } of groups) {
    lines.push(`<text class="title" x="0" y="${y}">A request that ${use}s</text>`);
    y += 12;
    for (const pair of pairs) {
      for (const bar of pair) lines.push(drawn(bar, (y += BAR + 2), longest));
      y += GAP;
    }
    y += 2 * GAP;
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y}" role="img">
<title>CPU time that sessions add to a request on ${platform === 'express' ? 'Express' : 'Fastify'}, in microseconds</title>
<style>${STYLE}</style>
<text class="title" x="0" y="20">CPU time that sessions add to a request, in µs. Less is better.</text>
${lines.join('\n')}
</svg>
`;
}

function pairsOf(results: Results, platform: Platform, use: Use): Bar[][] {
  const barOf = (contestant: Contestant, ours: boolean): Bar => ({
    name: contestant.library,
    value: Math.max(0, median(aboveBare(results, contestant, use, 'cpu'))),
    ours,
  });
  return [...results.keys()].flatMap((contestant) => {
    const peer = contestant.peer === undefined ? undefined : find(results, platform, contestant.peer);
    return contestant.platform === platform && peer ? [[barOf(contestant, true), barOf(peer, false)]] : [];
  });
}

function drawn({ name, value, ours }: Bar, y: number, longest: number): string {
  const width = Math.max(1, ((WIDTH - LEFT - RIGHT) * value) / longest);
  const kind = ours ? 'ours' : 'peer';
  return (
    `<text class="${kind}" x="${LEFT - 8}" y="${y + BAR - 3}" text-anchor="end">${name}</text>` +
    `<rect class="${kind}" x="${LEFT}" y="${y}" width="${width.toFixed(1)}" height="${BAR}" rx="2"/>` +
    `<text class="value" x="${(LEFT + width + 6).toFixed(1)}" y="${y + BAR - 3}">${value.toFixed(0)}</text>`
  );
}

const STYLE = `text{font:13px system-ui,sans-serif;fill:#3c4043}.title{font-weight:600}text.ours{font-weight:600}
rect.ours{fill:#c8102e}rect.peer{fill:#9aa0a6}.value{font-size:12px}
@media (prefers-color-scheme:dark){text{fill:#e8eaed}rect.ours{fill:#ff6b7d}rect.peer{fill:#6f757b}}`;
