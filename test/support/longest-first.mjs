import Sequencer from '@jest/test-sequencer';

/** Spec files that take so long that a run would wait for them alone if they began late. */
const LONGEST = /\/(interleavings|security-mutants|cached-database-store)\.spec\.ts$/;

export default class LongestFirst extends Sequencer {
  sort(given) {
    // oxlint-disable-next-line unicorn/no-array-sort -- it is a method of Jest's
    const tests = super.sort(given);
    return [...tests.filter(isLong), ...tests.filter((test) => !isLong(test))];
  }
}

function isLong({ path }) {
  return LONGEST.test(path);
}
