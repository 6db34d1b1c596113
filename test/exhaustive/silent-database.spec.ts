import { platforms, type RunningApp } from '../support/app.js';
import { remoteDatabase } from '../support/data-source.js';
import { appOnDatabase, type Outage, visitThrough } from '../support/outage.js';
import { describeWithOwnDatabase } from '../support/own-database.js';
import { type DatabaseServer, describeWithService } from '../support/services.js';

// With the defaults of everything, and for as long as a fail-over takes.

const LENGTH = 8000;
const servers: readonly DatabaseServer[] = ['postgres', 'mysql'];

async function through(app: RunningApp, outage: Outage) {
  const { statuses, servedAfter, visits } = await visitThrough(app, outage);
  return { statuses, inTime: servedAfter < 5000, visits: [...new Set(visits)] };
}

const recovered = { statuses: [503], inTime: true, visits: ['1'] };

for (const kind of servers) {
  describe.each(platforms)(`a database (${kind}) behind an application on %s`, (platform) => {
    describeWithService(kind, 'to which the network falls silent', () => {
      it('serves visitors within five seconds after it is back', async () => {
        const { options, wire, dispose } = await remoteDatabase(kind);
        const app = await appOnDatabase(platform, options, { storeTimeout: '5s' });
        try {
          const outage = { strike: () => wire.silence(), mend: () => wire.mend(), length: LENGTH };
          expect(await through(app, outage)).toEqual(recovered);
        } finally {
          await dispose(() => app.close());
        }
      });
    });

    describeWithOwnDatabase(kind, 'that is stopped in mid-air', (database) => {
      it('serves visitors within five seconds after it goes on', async () => {
        const app = await appOnDatabase(platform, database.options, { storeTimeout: '5s' });
        const { freeze, thaw } = database;
        try {
          expect(await through(app, { strike: freeze, mend: thaw, length: LENGTH })).toEqual(recovered);
        } finally {
          thaw();
          await app.close();
        }
      });
    });
  });
}
