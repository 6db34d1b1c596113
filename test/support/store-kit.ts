import { type DescribeSessionStoreOptions, type StoreUnderTest } from 'nest-sessions/testing';
import { setClockAhead, setClockRight } from './elapse.js';

const define = it;

/** What the conformance kit needs of a store that goes by the clock of this process, so that nobody has to wait. */
export function byThisClock(dispose: () => Promise<void>): Pick<StoreUnderTest, 'elapse' | 'dispose'> {
  return {
    elapse: async (ms) => setClockAhead(ms / 1000),
    async dispose() {
      setClockRight();
      await dispose();
    },
  };
}

/**
 * The tests of the kit without the one that moves the clock back. For stores of others that delete what is over by the
 * clock of this process, so that no other process with another clock finds it.
 */
export const withoutOtherClocks: Pick<DescribeSessionStoreOptions, 'it'> = {
  it(title, test) {
    if (title !== 'judges by the clock of this process') define(title, test);
  },
};
