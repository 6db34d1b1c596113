import {
  SessionCommittedError,
  SessionGoneError,
  SessionNotLoadedError,
  SessionsPerUserError,
} from '../session.errors.js';
import { type SessionDevice, type SessionExpiry, type SessionRecord } from '../stores/session-store.js';
import { type CommitFacts, type CookieFacts, planStore, type StoreStep } from './commit-plan.js';
import { hashStamp } from './credential-stamp.js';
import { type Dictionary } from './dictionary.js';
import {
  deadlineOf,
  expiresAtBrowserClose,
  type ExpiryPolicy,
  lastLoginOf,
  renewalDue,
  touchDue,
} from './expiry.js';
import { loginAdvice } from './login-advice.js';
import { type PresentedKey, RecordLink } from './record-link.js';
import { type LoginOptions, SessionDraft } from './session-draft.js';
import { type SessionEnvironment } from './session-environment.js';
import { type EndReason } from './session-events.js';
import { policyOf } from './session-lookup.js';
import { tellable } from './tellable.js';

/** Where a session stands for its surroundings (a request), which learn here that another one has taken its place. */
export interface SessionSlot {
  state: SessionState;
  /** The application destroyed the session or took it off the request. */
  vacated: boolean;
  /** From where the request comes, if that is to be kept. */
  describeDevice?: () => SessionDevice | undefined;
  /** What the browser is asked to forget with the session: the value of a Clear-Site-Data header. */
  clearSiteData?: string;
}

/**
 * What stands behind one session object: the draft of what the session is to become, and the link to its record.
 * Nothing here reaches the store before `persist`.
 */
export class SessionState {
  readonly slot: SessionSlot;
  /** Was `load` done? Without a key to ask for there is nothing to wait for, yet the application must have asked. */
  loaded = false;
  /** The application was told something that depends on the cookie, though Django does not call that access. */
  observed = false;
  readonly #draft: SessionDraft;
  readonly #link: RecordLink;
  readonly #presentedKey: PresentedKey;
  /** What the browser knows of the record. */
  #known: { expiresAt: number; browserLength: boolean } | null = null;
  #loading: Promise<void> | null = null;
  #work: Promise<void> = Promise.resolve();
  #running = 0;
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
    this.#link = new RecordLink(environment, presentedKey);
    this.#presentedKey = presentedKey;
  }

  /** Reads the record, once however often it is called. Without a well-formed key the store is not asked. */
  load(): void | Promise<void> {
    if (this.loaded) return;
    if (this.#link.presented !== 'unasked') {
      this.loaded = true;
      return;
    }
    this.#loading ??= this.#read().finally(() => {
      this.#loading = null;
    });
    return this.#loading;
  }

  async #read(): Promise<void> {
    const record = await this.#link.find();
    this.loaded = true;
    if (!record) return;
    this.#draft.adopt(record);
    this.#known = { expiresAt: record.expiresAt, browserLength: this.#browserLength };
  }

  /** Forgets every unsaved change and reads the record again. False: it is gone. */
  async reload(): Promise<boolean> {
    const record = await this.#link.findAgain();
    if (!record) return false;
    this.#draft.adopt(record);
    if (this.#closed === RESPONSE_LEFT) this.#closed = null;
    return true;
  }

  // --- What a handler sees and asks for ---

  get dictionary(): Dictionary {
    return this.#draft.dictionary;
  }

  get record(): Readonly<SessionRecord> | null {
    return this.#link.record;
  }

  get sessionKey(): string | null {
    return this.#link.sessionKey;
  }

  get id(): string {
    return this.#link.id;
  }

  get userId(): string | null {
    return this.#draft.userId;
  }

  /** When the user logged in, in epoch milliseconds. */
  get authenticatedAt(): number | null {
    const { userId, meta } = this.#draft;
    return userId === null || meta.authenticatedAfter === undefined
      ? null
      : this.#createdAt + meta.authenticatedAfter;
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
    return policyOf(this.#draft, this.environment);
  }

  /** Does anything but the dictionary differ from the record? */
  get metadataChanged(): boolean {
    return this.#draft.differsBesideData(this.record);
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
    this.#link.doom(reason);
    this.#draft.clear();
  }

  rotate(): void {
    this.#assertRotatable();
    this.dictionary.markWritten();
    this.#draft.drop(this.environment.login.secrets);
    this.#draft.ask('rotated');
  }

  bindUser(userId: string, options: LoginOptions): void {
    this.#assertRotatable();
    const bound = this.#draft.userId;
    if (bound !== null && bound !== userId) this.end('user-changed');
    else if (bound === null) this.#draft.keep(options.keep ?? true, this.environment.login.neverKeep);
    // Nothing is revived by a login with a key that is no more: it makes a session of its own.
    if (this.#link.replaced) this.#link.startAnew();
    this.rotate();
    const { stamp, remember = bound === userId && this.#draft.meta.remembered === true } = options;
    const device = this.slot.describeDevice?.();
    this.#draft.login(userId, {
      authenticatedAfter: this.environment.now() - this.#createdAt,
      ...(remember && { remembered: true }),
      ...(stamp !== undefined && { stamp: hashStamp(stamp) }),
      ...(device && { device }),
    });
  }

  renew(): void {
    this.assertWritable();
    this.#draft.ask('renewed');
  }

  /** A new, empty session takes the place of this one, which ends and stays readable. */
  replace(): SessionState {
    this.#assertRotatable();
    const successor = new SessionState(this.environment, this.#presentedKey, this.slot);
    successor.loaded = true;
    this.#link.handOverTo(successor.#link);
    successor.dictionary.markWritten();
    this.#closed = 'This session was replaced by regenerate(). Use the new one, `request.session`.';
    this.slot.state = successor;
    return successor;
  }

  // --- Reaching the store ---

  facts(failed: boolean): CommitFacts & CookieFacts {
    const { dictionary, environment, record } = this;
    const draft = this.#draft;
    const now = environment.now();
    const isChanged = (): boolean => !failed && (this.metadataChanged || draft.dataChanged);
    return {
      presented: this.#link.presented,
      live: record !== null,
      gone: this.#link.gone,
      accessed: dictionary.accessed,
      failed,
      ended: this.#link.ended,
      rotated: draft.requests.rotated,
      // Costs a look into all that was handed out, and not every question needs it.
      get changed() {
        return isChanged();
      },
      renewed: draft.requests.renewed || dictionary.forced || environment.saveEveryRequest,
      empty: draft.empty,
      touchDue: record !== null && now >= environment.touchesRestUntil && touchDue(record, now, this.policy),
      renewalDue: record !== null && renewalDue(record, now, environment.renewAfter),
      keyChanged: this.#link.keyChanged,
      deadlineMoved: (environment.saveEveryRequest && !failed) || this.#deadlineMoved(),
    };
  }

  /** Is there nothing to tell the store, and nothing on its way to it? Then a response need not wait. */
  settled(failed: boolean): boolean {
    if (this.#running > 0 || this.#link.hasDoomed || this.#expiresAtOnce()) return false;
    const facts = this.facts(failed);
    return planStore(facts) === 'nothing' && !(this.#link.hasUnreportedLoss && facts.changed);
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

  /** Like `persist`, for a caller who must know that the session could not be kept. */
  async save(): Promise<void> {
    await this.persist();
    if (!this.#link.gone) return;
    throw new SessionGoneError(
      'The session ended elsewhere while this code worked on it, so its changes were dropped. Treat the visitor as logged out.',
    );
  }

  /** Makes a record at once, even of an empty session. */
  createRecord(): Promise<void> {
    return this.#write('create');
  }

  async #persist(failed: boolean): Promise<void> {
    if (this.#expiresAtOnce() && !failed) this.end('expiry');
    await this.#link.endDoomed();
    const facts = this.facts(failed);
    const step = planStore(facts);
    if (step === 'nothing') {
      if (this.#link.hasUnreportedLoss && facts.changed) this.#link.reportLoss();
      return;
    }
    const { loggedIn } = this.#draft.requests;
    if (loggedIn) await this.#stampDraft();
    if (step === 'touch') await (facts.renewed ? this.#touch() : this.#touchIfPossible());
    else await this.#write(step);
    if (loggedIn) await this.#afterLogin();
  }

  async #afterLogin(): Promise<void> {
    try {
      if (this.record) await this.environment.afterLogin?.(this.record);
    } catch (error) {
      if (error instanceof SessionsPerUserError) this.#link.giveUp();
      throw error;
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

  /** Nobody has asked for this touch, and the answer is good without it. */
  async #touchIfPossible(): Promise<void> {
    const { emit, now } = this.environment;
    try {
      await this.#touch();
    } catch (error) {
      this.environment.touchesRestUntil = now() + TOUCHES_REST_FOR;
      emit({ type: 'touch-failed', sessionId: this.id, userId: this.userId, problem: tellable(error) });
    }
  }

  async #touch(): Promise<void> {
    this.#assertDeliverable('touch');
    const served = this.#draft.requests;
    const next = this.#nextRecord();
    // A touch only moves a deadline forward. Shorter options move it back, which takes a save.
    const forward = next.expiresAt >= (this.record as SessionRecord).expiresAt;
    const touched = await (forward ? this.#link.touch(next) : this.#link.save({}, next));
    if (touched) this.#draft.saved(next, served);
    else if (this.#draft.requests === served) this.#draft.forgetRequests();
  }

  async #write(step: Exclude<StoreStep, 'nothing' | 'touch'>): Promise<void> {
    this.#assertDeliverable(step);
    const served = this.#draft.requests;
    const next = this.#nextRecord();
    const changes = step === 'create' ? { set: next.data } : this.#draft.changesTo(this.record);
    const advice = this.environment.advise && loginAdvice(changes, next.userId);
    if (advice) this.environment.advise?.(advice);
    if (step === 'create') await this.#link.create(next);
    else if (step === 'save') await this.#link.save(changes, next);
    else {
      const reason = step === 'renew' ? 'renewal' : served.loggedIn ? 'login' : 'cycle';
      await this.#link.rotate(reason, changes, next);
    }
    if (this.record) this.#draft.saved(this.record, served);
    else this.#draft.forgetRequests();
  }

  #assertDeliverable(step: StoreStep): void {
    if (this.#responseLeft && (step === 'create' || this.environment.keeper.everyWriteMoves))
      throw new SessionCommittedError(NO_NEW_KEY);
  }

  #assertRotatable(): void {
    this.assertWritable();
    if (this.#responseLeft) throw new SessionCommittedError(NO_NEW_KEY);
  }

  #nextRecord(): SessionRecord {
    const now = this.environment.now();
    const { userId, expiry, meta } = this.#draft;
    return {
      id: this.id,
      userId,
      data: this.dictionary.snapshot(),
      expiry,
      createdAt: this.record?.createdAt ?? now,
      lastSeenAt: now,
      expiresAt: this.#deadline(now),
      version: this.record?.version ?? 1,
      meta,
    };
  }

  get #createdAt(): number {
    return this.record?.createdAt ?? this.environment.now();
  }

  /** When the session ends unless it is used after `now`. */
  #deadline(now: number): number {
    const { expiry, meta } = this.#draft;
    const createdAt = this.record?.createdAt ?? now;
    return deadlineOf(expiry, lastLoginOf({ createdAt, meta }), now, this.policy);
  }

  #expiresAtOnce(): boolean {
    if (this.expiry === null || this.expiry === 0 || !this.metadataChanged) return false;
    const now = this.environment.now();
    return this.#deadline(now) <= now;
  }

  get #browserLength(): boolean {
    return expiresAtBrowserClose(this.expiry, this.policy);
  }

  #deadlineMoved(): boolean {
    if (!this.record || !this.#known) return false;
    if (this.#known.browserLength !== this.#browserLength) return true;
    // A cookie knows whole seconds, and clocks of stores are converted to ours: less than a second is no move.
    return !this.#browserLength && Math.abs(this.record.expiresAt - this.#known.expiresAt) >= 1000;
  }
}

/** Milliseconds. A store that cannot write now is not asked again by every request. */
const TOUCHES_REST_FOR = 5000;

const NO_NEW_KEY =
  'The session needs a new key, but the response has begun and can carry no cookie any more. Do it before.';

const RESPONSE_LEFT =
  'The session was changed after the response had begun, when the change could reach neither the store nor the ' +
  'cookie. Change it before, or call `await session.reload()` first and `await session.save()` afterwards.';
