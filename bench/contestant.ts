/**
 * One application under measurement, in a process of its own: a bench forks it with platform, keeper and the places
 * where sessions may be kept, and asks over IPC what it spent.
 */
import { type Server } from 'node:http';
import { createApplication } from './application.js';
import { type Keeper, type Places, type Platform } from './contestants.js';
import { keepers } from './keepers.js';
import { type Answer, type Question } from './messages.js';
import { operations, resetOperations } from './operations.js';

const [platform, keeper, places] = process.argv.slice(2) as [Platform, Keeper, string];
const keeping = await keepers[keeper](JSON.parse(places) as Places);
const app = await createApplication(platform, keeping);
await app.listen(0, '127.0.0.1');
// Connections stay open while the others have their turn.
(app.getHttpServer() as Server).keepAliveTimeout = 0;

let before: NodeJS.CpuUsage;
process.on('message', (question: Question) => {
  if (question === 'start') {
    resetOperations();
    before = process.cpuUsage();
    answer({ type: 'started' });
  } else {
    const { user, system } = process.cpuUsage(before);
    answer({ type: 'spent', cpu: user + system, operations });
  }
});
// Ctrl-C reaches the whole group; the bench ends its contestants in order.
process.on('SIGINT', () => {});
process.on('disconnect', () => process.exit());
answer({ type: 'listening', url: await app.getUrl() });

function answer(message: Answer): void {
  process.send?.(message);
}
