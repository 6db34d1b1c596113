import {
  SessionCommittedError,
  SessionGoneError,
  SessionNotLoadedError,
  SessionRecordCorruptError,
} from '../session.errors.js';
import { type SessionChanges, type SessionExpiry, type SessionRecord } from '../stores/session-store.js';
import { type CookieAttributes } from './cookie-attributes.js';
import { type CommitFacts, type CookieFacts, planStore } from './commit-plan.js';
import { Dictionary } from './dictionary.js';
import { deadlineOf, expiresAtBrowserClose, type ExpiryPolicy, isExpired, touchDue } from './expiry.js';
import { type Limits } from './json-value.js';
import { type RecordKeeper } from './record-keeper.js';
import { type SessionEventListener } from './session-events.js';
import { createSessionId } from './session-key.js';

/** What all sessions of an application share. */
export interface SessionEnvironment {
  keeper: RecordKeeper;
  policy: ExpiryPolicy;
  limits: Limits;
  cookie: CookieAttributes;
  saveEveryRequest: boolean;
  now: () => number;
  emit: SessionEventListener;
}

/** Where a session stands for its surroundings (a request), which learn here that another one has taken its place. */
export interface SessionSlot {
  state: SessionState;
  /** The application destroyed the session or took it off the request. */
  vacated: boolean;
}

/** Where to find a record: by its key, or if that has changed, by its session id. */
interface Whereabouts {
  sessionKey: string;
  id: string;
}

/** No cookie, or the value of one. */
export type PresentedKey = string | undefined;

/**
 * What stands behind one session object: the record it came from, the dictionary, and what was asked of it. Nothing
 * here reaches the store before `persist`.
 */
export class SessionState {
  /** Made when it is first needed: a session that is loaded gets its data, the others an empty one. */
  #dictionary: Dictionary | undefined;
  readonly slot: SessionSlot;
  #presented: CommitFacts['presented'];
  /** Of the live record; private, so that no inspection or serialisation of this object can show it. */
  #sessionKey: string | null = null;
  readonly #presentedKey: PresentedKey;
  #record: SessionRecord | null = null;
  /** What the browser knows of the record. */
  #known: { expiresAt: number; browserLength: boolean } | null = null;
  #freshId: string | null = null;
  #loading: Promise<void> | null = null;
  #work: Promise<void> = Promise.resolve();
  #running = 0;
  /** Records that flush, logout or regenerate has ended; deleted by the next persist. */
  #doomed: Whereabouts[] = [];
  /** The record that went away while this request worked on it. */
  #lost: Whereabouts | null = null;
  #userId: string | null = null;
  #expiry: SessionExpiry = null;
  #ended = false;
  #rotated = false;
  /** `login` was called, perhaps for the user who was bound already. */
  #loggedIn = false;
  #renewed = false;
  #gone = false;
  /** Why nothing may be changed here any more; null: it may. */
  #closed: string | null = null;
  /** The response has begun: no cookie can follow a session that gets another key. */
  #responseLeft = false;

  constructor(
    readonly environment: SessionEnvironment,
    presentedKey: PresentedKey,
    slot?: SessionSlot,
  ) {
    this.slot = slot ?? { state: this, vacated: false };
    this.#presentedKey = presentedKey;
    this.#presented =
      presentedKey === undefined
        ? 'nothing'
        : environment.keeper.isToken(presentedKey)
          ? 'unasked'
          : 'malformed';
  }

  // --- Loading ---

  /** Was `load` done? Without a key to ask for there is nothing to wait for, yet the application must have asked. */
  loaded = false;

  /** Reads the record, once however often it is called. Without a well-formed key the store is not asked. */
  load(): void | Promise<void> {
    if (this.loaded) return;
    if (this.#presented !== 'unasked') {
      this.loaded = true;
      return;
    }
    this.#loading ??= this.#read(this.#presentedKey as string).finally(() => {
      this.#loading = null;
    });
    return this.#loading;
  }

  async #read(sessionKey: string): Promise<void> {
    const record = await this.#loadRecord(sessionKey);
    this.#presented = record ? 'live' : 'unknown';
    this.loaded = true;
    if (!record) return;
    this.#adopt(sessionKey, record);
    this.#known = { expiresAt: record.expiresAt, browserLength: this.#browserLength };
  }

  async #loadRecord(sessionKey: string): Promise<SessionRecord | null> {
    try {
      const record = await this.environment.keeper.load(sessionKey);
      return record && !isExpired(record, this.environment.now(), this.environment.policy) ? record : null;
    } catch (error) {
      if (!(error instanceof SessionRecordCorruptError)) throw error;
      this.environment.emit({ type: 'corrupt', error });
      return null;
    }
  }

  #adopt(sessionKey: string, record: SessionRecord): void {
    this.#sessionKey = sessionKey;
    this.#record = record;
    this.#userId = record.userId;
    this.#expiry = record.expiry;
    const accessed = this.#dictionary?.accessed ?? false;
    this.#dictionary = new Dictionary(record.data, this.environment.limits);
    this.#dictionary.accessed = accessed;
  }

  /** Forgets every unsaved change and reads the record again. False: it is gone. */
  async reload(): Promise<boolean> {
    const sessionKey = this.#sessionKey;
    const record = sessionKey === null ? null : await this.#loadRecord(sessionKey);
    if (sessionKey === null || !record) return false;
    this.#adopt(sessionKey, record);
    this.#rotated = this.#loggedIn = this.#renewed = false;
    if (this.#closed === RESPONSE_LEFT) this.#closed = null;
    return true;
  }

  // --- What a handler sees and asks for ---

  get dictionary(): Dictionary {
    return (this.#dictionary ??= new Dictionary({}, this.environment.limits));
  }

  get record(): Readonly<SessionRecord> | null {
    return this.#record;
  }

  get sessionKey(): string | null {
    return this.#sessionKey;
  }

  get id(): string {
    return this.#record?.id ?? (this.#freshId ??= createSessionId());
  }

  get userId(): string | null {
    return this.#userId;
  }

  get expiry(): SessionExpiry {
    return this.#expiry;
  }

  set expiry(expiry: SessionExpiry) {
    this.assertWritable();
    if (expiry === this.#expiry) return;
    this.#expiry = expiry;
    this.dictionary.accessed = true;
  }

  /** Does anything but the dictionary differ from the record? */
  get metadataChanged(): boolean {
    return this.#userId !== (this.#record?.userId ?? null) || this.#expiry !== (this.#record?.expiry ?? null);
  }

  get empty(): boolean {
    return this.dictionary.size === 0 && this.#expiry === null && this.#userId === null;
  }

  assertLoaded(): void {
    if (this.loaded) return;
    throw new SessionNotLoadedError(
      'The session was touched before it was loaded. Take it with @Session() in the handler, call ' +
        "`await session.load()` first, or set the option `loading: 'eager'` for middleware that reads req.session.",
    );
  }

  assertWritable(): void {
    this.assertLoaded();
    if (this.#closed !== null) throw new SessionCommittedError(this.#closed);
  }

  /** From here on changes are refused, because they could not reach the browser any more. */
  close(): void {
    this.#responseLeft = true;
    this.#closed ??= RESPONSE_LEFT;
  }

  /** Ends the session: what is written next starts another one. */
  end(): void {
    this.assertWritable();
    this.#doomRecord();
    if (this.#record) this.#ended = true;
    this.#forget();
    this.#dictionary = undefined;
    this.dictionary.markWritten();
    this.#userId = null;
    this.#expiry = null;
    this.#gone = false;
  }

  rotate(): void {
    this.assertWritable();
    if (this.#responseLeft) throw new SessionCommittedError(NO_NEW_KEY);
    this.dictionary.markWritten();
    this.#rotated = true;
  }

  bindUser(userId: string): void {
    if (this.#userId !== null && this.#userId !== userId) this.end();
    this.rotate();
    this.#userId = userId;
    this.#loggedIn = true;
  }

  renew(): void {
    this.assertWritable();
    this.#renewed = true;
  }

  /** A new, empty session takes the place of this one, which ends and stays readable. */
  replace(): SessionState {
    this.assertWritable();
    if (this.#responseLeft) throw new SessionCommittedError(NO_NEW_KEY);
    const successor = new SessionState(this.environment, this.#presentedKey, this.slot);
    successor.loaded = true;
    successor.#presented = this.#presented;
    this.#doomRecord();
    successor.#doomed = this.#doomed;
    successor.#ended = this.#ended || this.#record !== null;
    successor.dictionary.markWritten();
    this.#doomed = [];
    this.#closed = 'This session was replaced by regenerate(). Use the new one, `request.session`.';
    this.slot.state = successor;
    return successor;
  }

  // --- Reaching the store ---

  facts(failed: boolean): CommitFacts & CookieFacts {
    const { dictionary, environment } = this;
    return {
      presented: this.#presented,
      live: this.#record !== null,
      gone: this.#gone,
      accessed: dictionary.accessed,
      failed,
      ended: this.#ended,
      rotated: this.#rotated,
      changed: !failed && (this.metadataChanged || this.#dataChanged),
      renewed: this.#renewed || dictionary.forced || environment.saveEveryRequest,
      empty: this.empty,
      touchDue: this.#record !== null && touchDue(this.#record, environment.now(), environment.policy),
      keyChanged: this.#sessionKey !== this.#presentedKey,
      deadlineMoved: (environment.saveEveryRequest && !failed) || this.#deadlineMoved(),
    };
  }

  /** Django lets the application take back `modified`; then nothing is saved until it writes again. */
  get #dataChanged(): boolean {
    return this.dictionary.modified && Object.keys(this.dictionary.changes()).length > 0;
  }

  get #browserLength(): boolean {
    return expiresAtBrowserClose(this.#expiry, this.environment.policy);
  }

  #deadlineMoved(): boolean {
    if (!this.#record || !this.#known) return false;
    if (this.#known.browserLength !== this.#browserLength) return true;
    // A cookie knows whole seconds, and clocks of stores are converted to ours: less than a second is no move.
    return !this.#browserLength && Math.abs(this.#record.expiresAt - this.#known.expiresAt) >= 1000;
  }

  /** Is there nothing to tell the store, and nothing on its way to it? Then a response need not wait. */
  settled(failed: boolean): boolean {
    return (
      this.#running === 0 &&
      this.#doomed.length === 0 &&
      planStore(this.facts(failed)) === 'nothing' &&
      !this.#expiresAtOnce()
    );
  }

  /**
   * Brings the store up to date: ended records are deleted, and one write does the rest. Calls queue up. After an
   * error the changes are still there, so that the next call tries again.
   * @param failed the response is a server error: only ends reach the store
   */
  persist(failed = false): Promise<void> {
    this.#running += 1;
    const run = this.#work
      .catch(() => {})
      .then(() => this.#persist(failed))
      .finally(() => (this.#running -= 1));
    // Whoever forgets to wait for a save must not bring the process down; the commit meets the same error again.
    run.catch(() => {});
    this.#work = run;
    return run;
  }

  async #persist(failed: boolean): Promise<void> {
    if (this.#expiresAtOnce() && !failed) this.end();
    while (this.#doomed[0] !== undefined) {
      await this.environment.keeper.end(this.#doomed[0].sessionKey, this.#doomed[0].id);
      this.#doomed.shift();
    }
    const step = planStore(this.facts(failed));
    if (step === 'nothing') return;
    if (step === 'create') return this.#create();
    const { keeper } = this.environment;
    if (this.#responseLeft && keeper.everyWriteMoves) throw new SessionCommittedError(NO_NEW_KEY);
    const sessionKey = this.#sessionKey as string;
    const next = this.#nextRecord();
    if (step === 'touch' && next.expiresAt >= (this.#record as SessionRecord).expiresAt) {
      const touched = await keeper.touch(sessionKey, next);
      if (touched !== null) this.#written(touched, next);
      this.#renewed = false;
      return;
    }
    // A touch only moves a deadline forward. Shorter options move it back, which takes a save.
    const changes = step === 'touch' ? {} : this.#changes();
    const saved = await keeper[step === 'rename' ? 'rename' : 'save'](sessionKey, changes, next);
    if (saved !== null) this.#written(saved, { ...next, version: next.version + 1 });
    else this.#lose();
  }

  /** Makes a record at once, even of an empty session. */
  createRecord(): Promise<void> {
    return this.#create();
  }

  /** Like `persist`, for a caller who must know that the session could not be kept. */
  async save(): Promise<void> {
    await this.persist();
    if (!this.#gone) return;
    throw new SessionGoneError(
      'The session ended elsewhere while this code worked on it, so its changes were dropped. Treat the visitor as logged out.',
    );
  }

  async #create(): Promise<void> {
    if (this.#responseLeft) throw new SessionCommittedError(NO_NEW_KEY);
    const next = this.#nextRecord();
    this.#written(await this.environment.keeper.create(next), next);
  }

  #nextRecord(): SessionRecord {
    const now = this.environment.now();
    const createdAt = this.#record?.createdAt ?? now;
    return {
      id: this.id,
      userId: this.#userId,
      data: this.dictionary.snapshot(),
      expiry: this.#expiry,
      createdAt,
      lastSeenAt: now,
      expiresAt: deadlineOf(this.#expiry, createdAt, now, this.environment.policy),
      version: this.#record?.version ?? 1,
    };
  }

  #changes(): SessionChanges {
    return {
      ...this.dictionary.changes(),
      ...((this.#loggedIn || this.#userId !== this.#record?.userId) && { userId: this.#userId }),
      ...(this.#expiry !== this.#record?.expiry && { expiry: this.#expiry }),
    };
  }

  #expiresAtOnce(): boolean {
    if (this.#expiry === null || this.#expiry === 0 || !this.metadataChanged) return false;
    const now = this.environment.now();
    return deadlineOf(this.#expiry, this.#record?.createdAt ?? now, now, this.environment.policy) <= now;
  }

  #written(sessionKey: string, record: SessionRecord): void {
    this.#sessionKey = sessionKey;
    this.#record = record;
    this.dictionary.saved(record.data);
    this.#rotated = this.#loggedIn = this.#renewed = false;
  }

  #doomRecord(): void {
    const whereabouts = this.#whereabouts() ?? this.#lost;
    if (whereabouts) this.#doomed.push(whereabouts);
    this.#lost = null;
  }

  #whereabouts(): Whereabouts | null {
    return this.#sessionKey === null ? null : { sessionKey: this.#sessionKey, id: this.id };
  }

  #lose(): void {
    this.environment.emit({ type: 'write-after-end', sessionId: this.id });
    // A rotation may be what took it away. Should this request go on to log out, that has to hold all the same.
    this.#lost = this.#whereabouts();
    this.#forget();
    this.#gone = true;
  }

  #forget(): void {
    this.#sessionKey = null;
    this.#record = null;
    this.#freshId = null;
    this.#rotated = this.#loggedIn = this.#renewed = false;
  }
}

const NO_NEW_KEY =
  'The session needs a new key, but the response has begun and can carry no cookie any more. Do it before.';

const RESPONSE_LEFT =
  'The session was changed after the response had begun, when the change could reach neither the store nor the ' +
  'cookie. Change it before, or call `await session.reload()` first and `await session.save()` afterwards.';
