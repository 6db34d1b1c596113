import { randomBytes } from 'node:crypto';
import { chromium, CHROMIUM_VARIABLE, findChromium } from './chromium.mjs';
import { mysql } from './mysql.mjs';
import { postgres } from './postgres.mjs';
import { redis } from './redis.mjs';
import { findServer, workerVariable } from './service-discovery.mjs';

export const services = [postgres, mysql, redis];

const cleanUps = [];
let preparing = Promise.resolve([]);

/** Finds the services and makes in each a database of this run's own, whose URL goes to the workers. */
export async function prepareServices() {
  const browser = findChromium();
  if (browser) process.env[CHROMIUM_VARIABLE] = browser;
  process.stderr.write(`  ${chromium.label}: ${browser ?? 'not found'}\n`);
  const database = `nest_sessions_test_${process.pid}_${randomBytes(3).toString('hex')}`;
  preparing = Promise.allSettled(services.map((service) => prepareService(service, database)));
  const failed = (await preparing).find(({ status }) => status === 'rejected');
  if (failed) throw failed.reason;
}

/** Takes back everything `prepareServices` did, or is still doing; safe to call twice. */
export async function cleanUpServices() {
  await preparing;
  await Promise.all(cleanUps.splice(0).map((cleanUp) => cleanUp()));
}

async function prepareService(service, database) {
  const server = await findServer(service);
  process.stderr.write(`  ${service.label}: ${server ? new URL(server.url).host : 'not found'}\n`);
  if (!server) return;
  cleanUps.push(server.stop ?? (() => service.dropDatabase(server.url, database)));
  process.env[workerVariable(service)] = await service.createDatabase(server.url, database);
}
