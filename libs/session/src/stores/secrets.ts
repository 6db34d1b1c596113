import { hkdfSync, scryptSync } from 'node:crypto';
import { SessionConfigError } from '../session.errors.js';

/** Bytes. Less can be guessed by trying, away from the server, on any cookie that was ever sent. */
const SHORTEST = 32;
/** A random text of 32 hexadecimal digits has more different characters than this, practically always. */
const FEWEST_CHARACTERS = 8;

/** What stands in tutorials, samples and defaults, without anything but letters and digits. */
const WELL_KNOWN = [
  'secret',
  'password',
  'changeme',
  'changethis',
  'replaceme',
  'replacethis',
  'keyboardcat',
  'biggerthanthirtytwo',
  'atleast32',
  'atleastthirtytwo',
  'notsecure',
  'insecure',
  'example',
  'placeholder',
  'correcthorsebatterystaple',
  'thequickbrownfox',
  'loremipsum',
  'qwertyuiop',
  'abcdefghij',
  '0123456789',
  '1234567890',
];

/**
 * Refuses what an attacker would try first.
 * @param given one secret, or a list with the newest first
 * @throws SessionConfigError naming the secret by its place, never by its text
 */
export function checkSecrets(given: unknown, option = 'secrets'): string[] {
  const secrets: unknown[] = Array.isArray(given) ? given : [given];
  if (secrets.length === 0) throw new SessionConfigError(option, `is empty. ${HOW_TO_MAKE_ONE}`);
  const checked = secrets.map((secret, index) => {
    const problem = problemOf(secret);
    if (problem === undefined) return secret as string;
    throw new SessionConfigError(Array.isArray(given) ? `${option}[${index}]` : option, problem);
  });
  const double = checked.findIndex((secret, index) => checked.indexOf(secret) < index);
  if (double === -1) return checked;
  throw new SessionConfigError(`${option}[${double}]`, 'is in the list already. Remove one of the two.');
}

function problemOf(secret: unknown): string | undefined {
  if (typeof secret !== 'string') return `is not set. ${HOW_TO_MAKE_ONE}`;
  if (secret === '')
    return `is empty. Is the environment variable set that it comes from? ${HOW_TO_MAKE_ONE}`;
  if (Buffer.byteLength(secret) < SHORTEST) {
    return `has less than ${SHORTEST} bytes, so it could be guessed. ${HOW_TO_MAKE_ONE}`;
  }
  if (new Set(secret).size < FEWEST_CHARACTERS || /^(.{1,16}?)\1+$/su.test(secret)) {
    return `repeats a few characters, so it could be guessed. ${HOW_TO_MAKE_ONE}`;
  }
  const plain = secret.toLowerCase().replace(/[^a-z0-9]/g, '');
  if (WELL_KNOWN.some((text) => plain.includes(text))) {
    return `looks like a sample from a manual, which everybody knows. ${HOW_TO_MAKE_ONE}`;
  }
  return undefined;
}

const HOW_TO_MAKE_ONE =
  'Make one with: node -p "crypto.randomBytes(32).toString(\'base64url\')" and keep it out of the source code.';

/** What is done with a key. Each has keys of its own, made from the same secret. */
export type Use = 'encrypt' | 'sign' | 'pepper';

/** What is protected. A secret that is used for two of them has different keys for each. */
export type Area = 'cookie' | 'record' | 'store-key';

export interface Key {
  /** Eight characters that tell which key sealed a token, and nothing of the key. */
  id: string;
  bytes: Buffer;
}

/** The newest key seals, all of them open. */
export class KeyRing {
  // Private at run time, too: no inspection of what holds a ring shows a key.
  readonly #keys: readonly [newest: Key, ...Key[]];

  /** @param secrets the newest first. Costs about 50 ms each, once, so that guessing a secret costs as much. */
  constructor(secrets: readonly string[], use: Use, area: Area) {
    const [newest, ...older] = secrets.map((secret) => deriveKey(secret, use, area));
    if (!newest) throw new SessionConfigError('secrets', 'is empty. Give at least one.');
    this.#keys = [newest, ...older];
  }

  get newest(): Key {
    return this.#keys[0];
  }

  /** The newest first. */
  get all(): readonly Key[] {
    return this.#keys;
  }
}

function deriveKey(secret: string, use: Use, area: Area): Key {
  const master = scryptSync(secret, `nest-sessions:${area}:v1`, 32);
  const derive = (purpose: string, length: number): Buffer =>
    Buffer.from(hkdfSync('sha256', master, '', `nest-sessions:${area}:v1:${purpose}`, length));
  return { id: derive(`${use}:id`, 6).toString('base64url'), bytes: derive(use, 32) };
}
