import { slotOf } from './cluster-slot.js';

describe('slotOf', () => {
  // The first is the check value of the specification; the others are what `CLUSTER KEYSLOT` says.
  it.each([
    ['123456789', 12739],
    ['', 0],
    ['foo', 12182],
    ['foo{hash_tag}', 2515],
    ['{}foo{bar}', 6127],
    ['foo{{bar}}zap', 4015],
    ['foo{bar}{zap}', 5061],
    ['session:{v1-größe}', 15042],
  ])('of %j is %d', (key, slot) => {
    expect(slotOf(key)).toBe(slot);
  });
});
