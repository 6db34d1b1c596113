import { randomBytes } from 'node:crypto';
import { checkSecrets } from './secrets.js';

const GOOD = randomBytes(32).toString('base64url');

describe('S78: checkSecrets', () => {
  it.each([
    ['43 characters of base64url', () => randomBytes(32).toString('base64url')],
    ['base64', () => randomBytes(32).toString('base64')],
    ['64 hexadecimal digits', () => randomBytes(32).toString('hex')],
    ['32 hexadecimal digits', () => randomBytes(16).toString('hex')],
    ['a long sentence of one’s own', () => 'Am Brunnen vor dem Tore, da steht ein Lindenbaum; 1827'],
  ])('takes %s, every time', (_what, make) => {
    for (let round = 0; round < 500; round += 1) {
      const secret = make();
      expect(checkSecrets(secret)).toEqual([secret]);
    }
  });

  it.each<[what: string, secrets: unknown, option: string]>([
    ['nothing', undefined, 'secrets'],
    ['an empty text', '', 'secrets'],
    ['an empty list', [], 'secrets'],
    ['a number', 12_345, 'secrets'],
    ['31 bytes', GOOD.slice(0, 31), 'secrets'],
    ['one character over and over', 'x'.repeat(64), 'secrets'],
    ['two characters', 'ab'.repeat(32), 'secrets'],
    ['one character, and another at the end', `${'a'.repeat(40)}b`, 'secrets'],
    ['seven different characters in any order', 'abcdefg'.repeat(5) + 'gacebdf', 'secrets'],
    ['a repeated text', 'Zt7_kP2qLm9-'.repeat(4), 'secrets'],
    ['secret', 'secret', 'secrets'],
    ['a well-known sample', 'complex_password_at_least_32_characters_long', 'secrets'],
    ['another', 'a very long phrase bigger than thirty two chars', 'secrets'],
    ['keyboard cat', 'Keyboard Cat, and then some more text of ours', 'secrets'],
    ['changeme', 'CHANGE-ME-CHANGE-ME-0000000000000000000', 'secrets'],
    ['your-secret-here', 'put-your-session-secret-here-please!', 'secrets'],
    ['the second of a list', [GOOD, 'short'], 'secrets[1]'],
    ['a missing one in a list', [GOOD, undefined], 'secrets[1]'],
    ['the same twice', [GOOD, GOOD], 'secrets[1]'],
  ])('refuses %s', (_what, secrets, option) => {
    const refusal = expect.objectContaining({ code: 'SESSION_CONFIG', option }) as Error;
    expect(() => checkSecrets(secrets)).toThrow(refusal);
  });

  it('never tells a secret', () => {
    expect(() => checkSecrets('keyboard cat keyboard cat keyboard cat')).toThrow(
      expect.objectContaining({ message: expect.not.stringContaining('keyboard') as string }) as Error,
    );
  });
});
