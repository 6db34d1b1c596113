import {
  SessionCommittedError,
  SessionGoneError,
  SessionNotLoadedError,
  SessionRecordCorruptError,
} from '../session.errors.js';
import { type SessionChanges, type SessionExpiry, type SessionRecord } from '../stores/session-store.js';
import { type CommitFacts, type CookieFacts, planStore, type StoreStep } from './commit-plan.js';
import { hashStamp, isStampOf } from './credential-stamp.js';
import { type Dictionary } from './dictionary.js';
import {
  deadlineOf,
  expiresAtBrowserClose,
  type ExpiryPolicy,
  isExpired,
  lastLoginOf,
  renewalDue,
  touchDue,
} from './expiry.js';
import { loginAdvice } from './login-advice.js';
import { type LoginOptions, SessionDraft } from './session-draft.js';
import { type SessionEnvironment, type SessionSlot } from './session-environment.js';
import { type EndReason } from './session-events.js';
import { createSessionId } from './session-key.js';

/** Where to find a record: by its key, or if that has changed, by its session id. */
interface Whereabouts {
  sessionKey: string;
  id: string;
  userId: string | null;
}

/** A record that has to go. */
type Doomed = Whereabouts & { reason: EndReason };

/** No cookie, or the value of one. */
export type PresentedKey = string | undefined;

/**
 * What stands behind one session object: the record it came from, the draft of what it is to become, and where the two
 * are on their way to each other. Nothing here reaches the store before `persist`.
 */
export class SessionState {
  readonly slot: SessionSlot;
  readonly #draft: SessionDraft;
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
  #doomed: Doomed[] = [];
  /** The record that went away while this request worked on it. */
  #lost: Whereabouts | null = null;
  #ended = false;
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
    this.#draft = new SessionDraft(environment.limits);
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
    const found = await this.#find(sessionKey);
    this.#presented = found ? 'live' : 'unknown';
    this.loaded = true;
    if (!found) return;
    const { record } = found;
    this.#adopt(found.token, record);
    this.#known = { expiresAt: record.expiresAt, browserLength: this.#browserLength };
    this.environment.emit({ type: 'loaded', sessionId: record.id, userId: record.userId });
  }

  /** The live record of this key, as far as everything that can end a session agrees. */
  async #find(sessionKey: string): Promise<{ token: string; record: SessionRecord } | null> {
    const { keeper, emit, onReuse } = this.environment;
    const found = await this.#ask(sessionKey);
    if (found === null) return null;
    if (found.standing === 'replaced') {
      // Whatever this request does, the one that rotated the session has answered with the cookie that counts.
      this.#gone = true;
      return null;
    }
    const { record, token } = found;
    const session = { sessionId: record.id, userId: record.userId };
    if (found.standing === 'reused') {
      emit({ type: 'reuse', ...session });
      if (onReuse === 'report') return null;
      await keeper.end(token, record.id);
      emit({ type: 'ended', reason: 'reuse', ...session });
      return null;
    }
    if (isExpired(record, this.environment.now(), this.#policyOf(record))) {
      emit({ type: 'expired', ...session });
      return null;
    }
    if (await this.#hasStaleStamp(record)) {
      await keeper.end(token, record.id);
      emit({ type: 'ended', reason: 'stamp', ...session });
      return null;
    }
    return found;
  }

  async #ask(sessionKey: string) {
    try {
      return await this.environment.keeper.load(sessionKey);
    } catch (error) {
      if (!(error instanceof SessionRecordCorruptError)) throw error;
      this.environment.emit({ type: 'corrupt', error });
      return null;
    }
  }

  async #hasStaleStamp({ userId, meta }: SessionRecord): Promise<boolean> {
    const { currentStamp } = this.environment;
    if (!currentStamp || userId === null) return false;
    return !isStampOf(meta.stamp, await currentStamp(userId));
  }

  #adopt(sessionKey: string, record: SessionRecord): void {
    this.#sessionKey = sessionKey;
    this.#record = record;
    this.#draft.adopt(record);
  }

  /** Forgets every unsaved change and reads the record again. False: it is gone. */
  async reload(): Promise<boolean> {
    const sessionKey = this.#sessionKey;
    const found = sessionKey === null ? null : await this.#find(sessionKey);
    if (!found) return false;
    this.#adopt(found.token, found.record);
    if (this.#closed === RESPONSE_LEFT) this.#closed = null;
    return true;
  }

  // --- What a handler sees and asks for ---

  get dictionary(): Dictionary {
    return this.#draft.dictionary;
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
    return this.#draft.userId;
  }

  /** When the user logged in, in epoch milliseconds. */
  get authenticatedAt(): number | null {
    const { userId, meta } = this.#draft;
    if (userId === null || meta.authenticatedAfter === undefined) return null;
    return (this.#record?.createdAt ?? this.environment.now()) + meta.authenticatedAfter;
  }

  get expiry(): SessionExpiry {
    return this.#draft.expiry;
  }

  set expiry(expiry: SessionExpiry) {
    this.assertWritable();
    if (expiry === this.#draft.expiry) return;
    this.#draft.expiry = expiry;
    this.dictionary.accessed = true;
  }

  /** The timeouts that hold for this session. */
  get policy(): ExpiryPolicy {
    return this.#policyOf(this.#draft);
  }

  /** Does anything but the dictionary differ from the record? */
  get metadataChanged(): boolean {
    return this.#draft.differsBesideData(this.#record);
  }

  get empty(): boolean {
    return this.#draft.empty;
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
  end(reason: EndReason = 'logout'): void {
    this.assertWritable();
    this.#doomRecord(reason);
    if (this.#record) this.#ended = true;
    this.#forget();
    this.#draft.clear();
    this.#gone = false;
  }

  rotate(): void {
    this.assertWritable();
    if (this.#responseLeft) throw new SessionCommittedError(NO_NEW_KEY);
    this.dictionary.markWritten();
    this.#draft.drop(this.environment.login.secrets);
    this.#draft.rotated = true;
  }

  bindUser(userId: string, options: LoginOptions): void {
    this.assertWritable();
    if (this.#responseLeft) throw new SessionCommittedError(NO_NEW_KEY);
    const bound = this.#draft.userId;
    if (bound !== null && bound !== userId) this.end('user-changed');
    else if (bound === null) this.#draft.keep(options.keep ?? true, this.environment.login.neverKeep);
    // There is no record that others have ended, so nothing is revived by a session of its own.
    if (this.#presented === 'unknown' && !this.#lost) this.#gone = false;
    this.rotate();
    const now = this.environment.now();
    const { stamp, remember = false } = options;
    const device = this.slot.describeDevice?.();
    this.#draft.login(userId, {
      authenticatedAfter: now - (this.#record?.createdAt ?? now),
      ...(remember && { remembered: true }),
      ...(stamp !== undefined && { stamp: hashStamp(stamp) }),
      ...(device && { device }),
    });
  }

  renew(): void {
    this.assertWritable();
    this.#draft.renewed = true;
  }

  /** A new, empty session takes the place of this one, which ends and stays readable. */
  replace(): SessionState {
    this.assertWritable();
    if (this.#responseLeft) throw new SessionCommittedError(NO_NEW_KEY);
    const successor = new SessionState(this.environment, this.#presentedKey, this.slot);
    successor.loaded = true;
    successor.#presented = this.#presented;
    this.#doomRecord('logout');
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
    const draft = this.#draft;
    return {
      presented: this.#presented,
      live: this.#record !== null,
      gone: this.#gone,
      accessed: dictionary.accessed,
      failed,
      ended: this.#ended,
      rotated: draft.rotated,
      changed: !failed && (this.metadataChanged || draft.dataChanged),
      renewed: draft.renewed || dictionary.forced || environment.saveEveryRequest,
      empty: draft.empty,
      touchDue: this.#record !== null && touchDue(this.#record, environment.now(), this.policy),
      renewalDue:
        this.#record !== null && renewalDue(this.#record, environment.now(), environment.renewAfter),
      keyChanged: this.#sessionKey !== this.#presentedKey,
      deadlineMoved: (environment.saveEveryRequest && !failed) || this.#deadlineMoved(),
    };
  }

  #policyOf({ meta }: Pick<SessionRecord, 'meta'>): ExpiryPolicy {
    return meta.remembered ? this.environment.rememberedPolicy : this.environment.policy;
  }

  get #browserLength(): boolean {
    return expiresAtBrowserClose(this.expiry, this.policy);
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
    if (this.#expiresAtOnce() && !failed) this.end('expiry');
    await this.#endDoomed();
    const facts = this.facts(failed);
    const step = planStore(facts);
    if (step === 'nothing') {
      if (this.#gone && facts.changed && !this.#lost) this.#reportLoss();
      return;
    }
    const { loggedIn } = this.#draft;
    if (loggedIn) await this.#stampDraft();
    if (step === 'create') await this.#create();
    else if (step === 'touch') await this.#touch();
    else await this.#update(step);
    if (loggedIn && this.#record) await this.environment.afterLogin?.(this.#record);
  }

  async #endDoomed(): Promise<void> {
    for (let doomed = this.#doomed[0]; doomed; doomed = this.#doomed[0]) {
      const { sessionKey, id, userId, reason } = doomed;
      await this.environment.keeper.end(sessionKey, id);
      this.#doomed.shift();
      this.environment.emit({ type: 'ended', reason, sessionId: id, userId });
    }
  }

  /** Without a stamp of its own, a login is bound to the credential that the user has now. */
  async #stampDraft(): Promise<void> {
    const { currentStamp } = this.environment;
    const { userId, meta } = this.#draft;
    if (!currentStamp || userId === null || meta.stamp !== undefined) return;
    const stamp = await currentStamp(userId);
    if (stamp !== null) this.#draft.meta = { ...meta, stamp: hashStamp(stamp) };
  }

  async #touch(): Promise<void> {
    const next = this.#nextRecord();
    // A touch only moves a deadline forward. Shorter options move it back, which takes a save.
    if (next.expiresAt < (this.#record as SessionRecord).expiresAt) return this.#write('save', {}, next);
    this.#assertDeliverable();
    const touched = await this.environment.keeper.touch(this.#sessionKey as string, next);
    if (touched !== null) this.#written(touched, next);
    this.#draft.renewed = false;
  }

  #update(step: 'save' | 'rename' | 'renew'): Promise<void> {
    const changes = this.#draft.changesTo(this.#record);
    const advice = this.environment.advise && loginAdvice(changes, this.userId);
    if (advice) this.environment.advise?.(advice);
    return this.#write(step, changes, this.#nextRecord());
  }

  async #write(
    step: Extract<StoreStep, 'save' | 'rename' | 'renew'>,
    changes: SessionChanges,
    next: SessionRecord,
  ): Promise<void> {
    this.#assertDeliverable();
    const { keeper, emit } = this.environment;
    const sessionKey = this.#sessionKey as string;
    const { loggedIn } = this.#draft;
    const saved = { ...next, version: next.version + 1 };
    if (step === 'save') {
      const token = await keeper.save(sessionKey, changes, next);
      if (token === null) this.#lose();
      else this.#written(token, saved);
      return;
    }
    const moved = await keeper[step](sessionKey, changes, next);
    if (moved === null) return this.#lose();
    this.#written(moved.token, { ...saved, meta: moved.meta });
    const reason = step === 'renew' ? 'renewal' : loggedIn ? 'login' : 'cycle';
    emit({ type: 'rotated', reason, sessionId: next.id, userId: next.userId });
  }

  #assertDeliverable(): void {
    if (this.#responseLeft && this.environment.keeper.everyWriteMoves)
      throw new SessionCommittedError(NO_NEW_KEY);
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
    const { keeper, emit, advise } = this.environment;
    const advice = advise && loginAdvice({ set: this.dictionary.snapshot() }, this.userId);
    if (advice) advise?.(advice);
    const next = this.#nextRecord();
    this.#written(await keeper.create(next), next);
    emit({ type: 'created', sessionId: next.id, userId: next.userId });
  }

  #nextRecord(): SessionRecord {
    const now = this.environment.now();
    const { userId, expiry, meta } = this.#draft;
    const createdAt = this.#record?.createdAt ?? now;
    return {
      id: this.id,
      userId,
      data: this.dictionary.snapshot(),
      expiry,
      createdAt,
      lastSeenAt: now,
      expiresAt: deadlineOf(expiry, lastLoginOf({ createdAt, meta }), now, this.policy),
      version: this.#record?.version ?? 1,
      meta,
    };
  }

  #expiresAtOnce(): boolean {
    if (this.expiry === null || this.expiry === 0 || !this.metadataChanged) return false;
    const now = this.environment.now();
    const createdAt = this.#record?.createdAt ?? now;
    return deadlineOf(this.expiry, lastLoginOf({ createdAt, meta: this.#draft.meta }), now, this.policy) <= now;
  }

  #written(sessionKey: string, record: SessionRecord): void {
    this.#sessionKey = sessionKey;
    this.#record = record;
    this.#draft.saved(record);
  }

  #doomRecord(reason: EndReason): void {
    const whereabouts = this.#whereabouts() ?? this.#lost;
    if (whereabouts) this.#doomed.push({ ...whereabouts, reason });
    this.#lost = null;
  }

  #whereabouts(): Whereabouts | null {
    const sessionKey = this.#sessionKey;
    return sessionKey === null ? null : { sessionKey, id: this.id, userId: this.#record?.userId ?? null };
  }

  #lose(): void {
    this.#reportLoss();
    // A rotation may be what took it away. Should this request go on to log out, that has to hold all the same.
    this.#lost = this.#whereabouts();
    this.#forget();
    this.#gone = true;
  }

  #reportLoss(): void {
    this.environment.emit({ type: 'write-after-end', sessionId: this.id });
  }

  #forget(): void {
    this.#sessionKey = null;
    this.#record = null;
    this.#freshId = null;
    this.#draft.forgetRequests();
  }
}

const NO_NEW_KEY =
  'The session needs a new key, but the response has begun and can carry no cookie any more. Do it before.';

const RESPONSE_LEFT =
  'The session was changed after the response had begun, when the change could reach neither the store nor the ' +
  'cookie. Change it before, or call `await session.reload()` first and `await session.save()` afterwards.';
