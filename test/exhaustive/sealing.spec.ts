import { randomBytes } from 'node:crypto';
import { CONTENTS_PER_KEY, seals } from '../../libs/session/src/stores/sealing.js';

const SALT_LENGTH = 12;
const saltOf = (sealed: Buffer): string => sealed.toString('hex', 0, SALT_LENGTH);

it('derives another key after 1,048,576 contents, and opens those of both', () => {
  const [key, content] = [randomBytes(32), Buffer.from('content')];
  const close = (): Buffer => seals.encrypt.close(key, 'context', content);
  const first = close();
  for (let n = 2; n < CONTENTS_PER_KEY; n++) close();
  const last = close();
  const next = close();
  expect(CONTENTS_PER_KEY).toBe(1_048_576);
  expect(saltOf(last)).toBe(saltOf(first));
  expect(saltOf(next)).not.toBe(saltOf(first));
  for (const sealed of [first, last, next]) {
    expect(seals.encrypt.open(key, 'context', sealed)).toEqual(content);
  }
});
