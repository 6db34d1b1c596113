import { type SessionChanges, type SessionRecord, SessionStore } from 'nest-sessions';
import { type CookieStore } from 'nest-sessions/cookie';
import { type RecordKeeper } from '../../libs/session/src/session/record-keeper.js';
import { sealedKeeper } from '../../libs/session/src/session/sealed-keeper.js';

const PURPOSE = 'sessionid';

/**
 * A browser that keeps sealed cookies, each under a key: what the cookie engine and its clients amount to together is a
 * store, so that the conformance kit can be run on it.
 */
export class CookieJarStore extends SessionStore {
  private readonly tokens = new Map<string, string>();
  private readonly keeper: RecordKeeper;

  constructor(private readonly sealing: CookieStore) {
    super();
    this.keeper = sealedKeeper(sealing, {
      purpose: PURPOSE,
      overhead: 150,
      timeLimit: 1000,
      now: () => this.now(),
    });
  }

  async load(key: string): Promise<SessionRecord | null> {
    const token = this.tokens.get(key);
    const found = token === undefined ? null : await this.keeper.load(token);
    return found?.standing === 'live' ? found.record : null;
  }

  async create(key: string, record: SessionRecord): Promise<boolean> {
    const token = await this.keeper.create(record);
    if (this.tokens.has(key)) return false;
    this.tokens.set(key, token);
    return true;
  }

  save(key: string, changes: SessionChanges, record: SessionRecord): Promise<boolean> {
    return this.replace(key, key, (token) => this.keeper.save(token, changes, record));
  }

  override touch(key: string, record: SessionRecord): Promise<boolean> {
    return this.replace(key, key, (token) => this.keeper.touch(token, record));
  }

  override rename(
    key: string,
    newKey: string,
    changes: SessionChanges,
    record: SessionRecord,
  ): Promise<boolean> {
    return this.replace(key, newKey, async (token) => {
      const renamed = await this.keeper.rename(token, changes, record);
      return renamed && renamed.token;
    });
  }

  delete(key: string): Promise<boolean> {
    return Promise.resolve(this.tokens.delete(key));
  }

  /** Seals something under this key that is not what the record was. */
  spoil(key: string): Promise<void> {
    const spoilt = { id: 1, meta: {} } as unknown as Parameters<CookieStore['seal']>[0];
    this.tokens.set(key, this.sealing.seal(spoilt, PURPOSE));
    return Promise.resolve();
  }

  private async replace(
    key: string,
    newKey: string,
    write: (token: string) => Promise<string | null>,
  ): Promise<boolean> {
    const token = this.tokens.get(key);
    const written = token === undefined ? null : await write(token);
    // The browser forgot the cookie while the request was on its way: what comes back is that of another session.
    if (written === null || !this.tokens.has(key) || (newKey !== key && this.tokens.has(newKey)))
      return false;
    this.tokens.delete(key);
    this.tokens.set(newKey, written);
    return true;
  }
}
