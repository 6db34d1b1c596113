import { hkdfSync, scryptSync } from 'node:crypto';
import { SessionConfigError } from '../session.errors.js';

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
  readonly newest: Key;
  private readonly keys: ReadonlyMap<string, Key>;

  /** @param secrets the newest first. Costs about 50 ms each, once, so that guessing a secret costs as much. */
  constructor(secrets: readonly string[], use: Use, area: Area) {
    const keys = secrets.map((secret) => deriveKey(secret, use, area));
    this.keys = new Map(keys.map((key) => [key.id, key]));
    const [newest] = keys;
    if (!newest) throw new SessionConfigError('secrets', 'is empty. Give at least one.');
    this.newest = newest;
  }

  /** The newest first. */
  get all(): readonly Key[] {
    return [...this.keys.values()];
  }

  find(id: string): Key | undefined {
    return this.keys.get(id);
  }
}

function deriveKey(secret: string, use: Use, area: Area): Key {
  const master = scryptSync(secret, `nest-sessions:${area}:v1`, 32);
  const derive = (purpose: string, length: number): Buffer =>
    Buffer.from(hkdfSync('sha256', master, '', `nest-sessions:${area}:v1:${purpose}`, length));
  return { id: derive(`${use}:id`, 6).toString('base64url'), bytes: derive(use, 32) };
}
