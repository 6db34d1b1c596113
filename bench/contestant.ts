/**
 * One application under measurement, in a process of its own. The bench forks it with its contestant and the places where
 * sessions may be kept, and asks over IPC what it costs.
 */
import { type Server } from 'node:http';
import { createApplication, type Libraries } from './application.js';
import { type Contestant } from './contestants.js';
import { type Cost, type Kind, startCounting } from './counters.js';
import { type Places } from './places.js';

/** What the bench asks: to start counting, or to stop. */
export type Question = { start: Kind } | 'stop';

export type Answer =
  | { type: 'listening'; url: string }
  | { type: 'started' }
  /** Of all requests since the start. */
  | { type: 'stopped'; cost: Cost };

const [contestant, places] = process.argv.slice(2).map((text) => JSON.parse(text) as unknown) as [
  Contestant,
  Places,
];
const { platform, group, library } = contestant;
const { libraries } = (await import(`./libraries/${group}.js`)) as { libraries: Libraries };
const use = libraries[library];
if (!use) throw new Error(`libraries/${group} has no "${library}".`);
const app = await createApplication(platform, await use(places, platform));
await app.listen(0, '127.0.0.1');
// Connections stay open while the others have their turn.
(app.getHttpServer() as Server).keepAliveTimeout = 0;

let stop: (() => Cost) | undefined;
process.on('message', (question: Question) => {
  if (question === 'stop') {
    if (stop) answer({ type: 'stopped', cost: stop() });
  } else {
    stop = startCounting(question.start);
    answer({ type: 'started' });
  }
});
// Ctrl-C reaches the whole group; the bench ends its applications in order.
process.on('SIGINT', () => {});
process.on('disconnect', () => process.exit());
answer({ type: 'listening', url: await app.getUrl() });

function answer(message: Answer): void {
  process.send?.(message);
}
