// The conformance kit in Node's own test runner, over the library as it is built.
// Run by test/store-kit-node-test.spec.ts: node --test-reporter=tap kit.mjs <built library> <MemoryStore | BrokenStore>
import { after, describe, it } from 'node:test';
import { pathToFileURL } from 'node:url';

const [library, name] = process.argv.slice(2);
const load = (path) => import(pathToFileURL(`${library}/${path}`).href);
const { MemoryStore } = await load('stores/memory/index.js');
const { describeSessionStore } = await load('testing/index.js');

class BrokenStore extends MemoryStore {
  async save(...given) {
    await super.save(...given);
    return true;
  }
}

let passed = 0;
const store = new { MemoryStore, BrokenStore }[name]({ now: () => Date.now() + passed });

describeSessionStore(
  name,
  async () => ({
    store,
    elapse: async (ms) => void (passed += ms),
    dispose: async () => process.stdout.write('disposed\n'),
  }),
  {
    capabilities: { severalProcesses: false, ownClock: false, corruptRecords: false, outages: false },
    describe,
    it,
    after,
  },
);
