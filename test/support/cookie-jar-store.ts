import { type SessionChanges, type SessionRecord, SessionStore } from 'nest-sessions';
import { type CookieSealer } from 'nest-sessions/cookie';
import { SealedTokens } from '../../libs/session/src/session/sealed-tokens.js';
import { TimeLimit } from '../../libs/session/src/session/store-guard.js';
import { type Held } from '../../libs/session/src/session/token-store.js';
import { applyChanges } from '../../libs/session/src/stores/record-log.js';

const PURPOSE = 'sessionid';

/**
 * A browser that keeps sealed cookies, each under the id of its session: what the cookie engine and its clients amount to
 * together is a store, so that the conformance kit can be run on it. Sealed records have no key hash: the browser keeps it.
 */
export class CookieJarStore extends SessionStore {
  private readonly jar = new Map<string, { token: string; keyHash: string }>();
  private readonly tokens: SealedTokens;

  constructor(private readonly sealer: CookieSealer) {
    super();
    this.tokens = new SealedTokens(sealer, {
      purpose: PURPOSE,
      overhead: 150,
      timeLimit: new TimeLimit(1000),
      policyOf: () => ({ absoluteTimeout: null }),
    });
  }

  async load(id: string): Promise<SessionRecord | null> {
    const kept = this.jar.get(id);
    const found = kept && (await this.tokens.load(kept.token));
    return kept && found?.standing === 'live' ? { ...found.record, keyHash: kept.keyHash } : null;
  }

  async create(id: string, record: SessionRecord): Promise<boolean> {
    const { keyHash } = record;
    const { token } = await this.tokens.create(record);
    if (this.jar.has(id)) return false;
    this.jar.set(id, { token, keyHash });
    return true;
  }

  save(id: string, keyHash: string, changes: SessionChanges, record: SessionRecord): Promise<boolean> {
    if (this.jar.get(id)?.keyHash !== keyHash) return Promise.resolve(false);
    // A request works on what is in its own token.
    return this.replace(id, { from: keyHash, to: changes.keyHash ?? keyHash }, async (held) =>
      this.tokens.save(held, changes, { ...record, data: applyChanges(held.record.data, changes) }),
    );
  }

  override touch(id: string, record: SessionRecord): Promise<boolean> {
    const { keyHash = '' } = this.jar.get(id) ?? {};
    return this.replace(id, { from: keyHash, to: keyHash }, (held) => this.tokens.touch(held, record));
  }

  delete(id: string): Promise<boolean> {
    return Promise.resolve(this.jar.delete(id));
  }

  /** Seals something under this id that is not what the record was. */
  spoil(id: string): Promise<void> {
    const spoilt = { id: 1, meta: {} } as unknown as Parameters<CookieSealer['seal']>[0];
    this.jar.set(id, { token: this.sealer.seal(spoilt, PURPOSE), keyHash: '' });
    return Promise.resolve();
  }

  private async replace(
    id: string,
    keyHash: { from: string; to: string },
    write: (held: Held) => Promise<Held | null>,
  ): Promise<boolean> {
    const { token } = this.jar.get(id) ?? {};
    const record = token === undefined ? null : this.sealer.open(token, PURPOSE);
    const written = token !== undefined && record && (await write({ token, record }));
    // The browser forgot the cookie, or got another key, while the request was on its way.
    if (!written || this.jar.get(id)?.keyHash !== keyHash.from) return false;
    this.jar.set(id, { token: written.token, keyHash: keyHash.to });
    return true;
  }
}
