import {
  SessionCommittedError,
  SessionGoneError,
  SessionNotLoadedError,
  SessionRecordCorruptError,
  SessionsPerUserError,
} from '../session.errors.js';
import { applyChanges, encodeSnapshot } from '../stores/record-log.js';
import {
  type SessionChanges,
  type SessionDevice,
  type SessionExpiry,
  type SessionMeta,
  type SessionRecord,
} from '../stores/session-store.js';
import { type CommitFacts, type CookieFacts, planStore, type StoreStep } from './commit-plan.js';
import {
  deadlineOf,
  expiresAtBrowserClose,
  type ExpiryPolicy,
  isExpired,
  policyOf,
  renewalDue,
  touchDue,
} from './expiry.js';
import {
  type CurrentStamp,
  dropAtLogin,
  hashStamp,
  isStampOf,
  type Keeps,
  keepsAtLogin,
  loginAdvice,
  type LoginOptions,
} from './login.js';
import { MOST_CANDIDATES, moveIn, type OldSession } from './old-session.js';
import { safeMessage } from './safe-message.js';
import { type Delta, TrackedData } from './tracked-data.js';
import { type SessionEnvironment } from './session-environment.js';
import { type EndReason } from './session-events.js';
import { createSessionId } from './session-key.js';
import { type Found, type Held } from './token-store.js';

/** Where a session stands for its surroundings (a request), which learn here that another one has taken its place. */
export interface SessionSlot {
  session: LiveSession;
  /** The application destroyed the session or took it off the request. */
  vacated: boolean;
  /** Where the request comes from, if that is to be kept. */
  describeDevice?: () => SessionDevice | undefined;
  /** What the browser is asked to forget with the session: the value of a Clear-Site-Data header. */
  clearSiteData?: string;
  /** Of a socket, whose keys were sent a while ago: a former one among them is no reuse. */
  isHandshake?: true;
  /** Why nothing can hand a new cookie to the browser here; undefined: a response can, until it has begun. */
  noCookie?: string;
}

/** What the application asked for besides changes. Another object after every request. */
interface Requests {
  /** A new secret, by `cycleKey`. */
  readonly rotated?: true;
  readonly loggedIn?: true;
  /** The idle clock is to be restarted, whether that is due or not. */
  readonly renewed?: true;
}

const NO_REQUESTS: Requests = {};

/** The session that a login takes the place of. */
interface Predecessor {
  held: Held;
  reason: EndReason;
  /** What is taken over from it; null: nothing. */
  keeps: Keeps | null;
}

/** What a token leads to today; null: to nothing. */
type LookedUp = ({ standing: 'live' } & Held) | Replaced | null;

interface Replaced {
  standing: 'replaced';
  /** Null: the token opened nothing even before. */
  sessionId: string | null;
}

/** What one look at the session has found, for the write that follows from it. */
interface Plan {
  step: StoreStep;
  facts: CommitFacts;
  delta: Delta | null;
}

/**
 * What stands behind one session object: the session as the application sees and changes it, and the record that it
 * came from. Nothing here reaches the store before a commit.
 */
export class LiveSession {
  /** Private, as it leads to the store, which nobody may reach from a request. */
  readonly #environment: SessionEnvironment;
  readonly slot: SessionSlot;
  /** Was `load` done? Without a token to ask for there is nothing to wait for, yet the application must have asked. */
  loaded = false;
  /** The application was told something that depends on the cookie, though Django does not call that access. */
  observed = false;
  /** Flash messages that this request has taken, by their keys. Those of another session are never among them. */
  get taken(): Map<string, unknown> {
    return (this.#taken ??= new Map());
  }

  // What the application sees.
  #taken: Map<string, unknown> | undefined;
  #data: TrackedData | undefined;
  #userId: string | null = null;
  #expiry: SessionExpiry = null;
  #meta: SessionMeta = {};
  #requests = NO_REQUESTS;
  #freshId: string | null = null;

  // What is known of the record.
  /** Well-formed tokens that the request came with, the likeliest first; that of an old session comes last. */
  readonly #presented: readonly string[];
  /** Everything that was sent as one. */
  readonly #sent: readonly string[];
  /** A session of another library that the request came with. */
  readonly #old: OldSession | undefined;
  #held: Held | null = null;
  /** The token that opened the session. */
  #admitted: string | null = null;
  /** What the browser knows of the record. */
  #known: { expiresAt: number; browserLength: boolean } | null = null;
  #ended = false;
  #gone = false;
  /** Id of a session that is gone, until the event is emitted. */
  #unreportedLoss: string | null = null;
  /** The record that went away while this session worked on it. */
  #lost: Held | null = null;
  #predecessor: Predecessor | null = null;
  /** Records that the next commit deletes. */
  #toEnd: { held: Held; reason: EndReason }[] = [];
  /** Raised when the session object starts to stand for another session. */
  #generation = 0;

  // What is on its way.
  #loading: Promise<void> | null = null;
  #work: Promise<void> | null = null;
  /** Why nothing may be changed here any more; null: it may. */
  #closed: string | null = null;
  /** The response has begun: no cookie can follow a session that gets another token. */
  #responseLeft = false;

  /** @param sent what the request came with as a session key, the likeliest first */
  constructor(
    environment: SessionEnvironment,
    sent: readonly string[] = [],
    slot?: SessionSlot,
    old?: OldSession,
  ) {
    this.#environment = environment;
    this.slot = slot ?? { session: this, vacated: false };
    const presented = sent.filter(environment.tokens.isToken).slice(0, MOST_CANDIDATES);
    this.#presented = old ? [...presented, old.token] : presented;
    this.#sent = sent;
    this.#old = old;
  }

  /**
   * The session of one message over a socket, whose handshake has been answered: no cookie can follow.
   * @param held null: the socket has no session. The record belongs to this session from now on
   */
  static ofMessage(environment: SessionEnvironment, held: Held | null): LiveSession {
    const live = new LiveSession(environment);
    live.slot.noCookie = ON_A_SOCKET;
    live.loaded = live.#responseLeft = true;
    if (held) {
      live.#hold(held);
      live.#adopt(held.record);
    }
    return live;
  }

  /** Attributes of the cookie, as configured. */
  get cookie(): SessionEnvironment['cookie'] {
    return this.#environment.cookie;
  }

  now(): number {
    return this.#environment.now();
  }

  // --- Loading ---

  /** Reads the record, once however often it is called. Without a well-formed token the store is not asked. */
  load(): void | Promise<void> {
    if (this.loaded) return;
    if (this.#presented.length === 0) {
      this.loaded = true;
      return;
    }
    if (this.#loading) return this.#loading;
    const loading = this.#read(0);
    if (loading) this.#loading = loading;
    return loading;
  }

  /** Forgets every unsaved change and reads the record again. False: it is gone. */
  async reload(): Promise<boolean> {
    const found = this.#held && (await this.#lookUp(this.#held.token, (lookedUp) => lookedUp));
    if (found?.standing !== 'live') return false;
    this.#hold(found);
    this.#adopt(found.record);
    if (this.#closed === RESPONSE_LEFT) this.#closed = null;
    return true;
  }

  /** Tries the presented tokens one after the other, from this place on, until one leads to a live session. */
  #read(place: number, former: Replaced | null = null): void | Promise<void> {
    const token = this.#presented[place] as string;
    return this.#lookUp(token, (found) => {
      if (found?.standing === 'live') {
        this.#hold(found);
        // The browser may not have it yet.
        this.#admitted = token === this.#old?.token ? null : token;
        this.#adopt(found.record);
        this.#known = { expiresAt: found.record.expiresAt, browserLength: this.#browserLength };
        const { id, userId } = found.record;
        this.#environment.emit({ type: 'loaded', sessionId: id, userId });
        if (this.#old) return this.#leaveOld(this.#old, found.record);
      } else {
        const replaced = former ?? found;
        if (place + 1 < this.#presented.length) return this.#read(place + 1, replaced);
        // The response that has replaced the token brings the cookie that counts, whatever this request does.
        this.#gone = replaced !== null;
        this.#unreportedLoss = replaced && replaced.sessionId;
        if (this.#old && !this.#gone && !this.#old.asked) return this.#moveIn(this.#old, place);
      }
      this.loaded = true;
      return undefined;
    });
  }

  async #moveIn(old: OldSession, place: number): Promise<void> {
    try {
      const moved = await moveIn(old, this.#environment, this.slot.describeDevice?.());
      // Perhaps another request has moved it since this one looked.
      if (!moved) return await this.#read(place);
      this.#hold(moved);
      this.#adopt(moved.record);
      this.loaded = true;
    } catch (error) {
      this.#loading = null;
      old.asked = false;
      throw error;
    }
  }

  async #leaveOld(old: OldSession, record: SessionRecord): Promise<void> {
    await old.leave(record, this.#environment.now);
    this.loaded = true;
  }

  /**
   * What a token leads to, when everything agrees that the session goes on: the store, the options of today, the user's
   * credential. What ends or is refused here is told as an event.
   * @param use is told of it. Not by a promise of its own, because every load would pay for that
   */
  #lookUp<Result>(
    token: string,
    use: (found: LookedUp) => Result | Promise<Result>,
  ): Result | Promise<Result> {
    const { tokens, replacedTokens } = this.#environment;
    const replaced = replacedTokens.find(token);
    if (replaced?.pending === false) return use({ standing: 'replaced', sessionId: replaced.sessionId });
    const absent = (error: unknown): Result | Promise<Result> => use(this.#nullIfCorrupt(error));
    const judge = (found: Found | null): Result | Promise<Result> => {
      const judged = this.#judge(found);
      return judged instanceof Promise ? judged.then(use, absent) : use(judged);
    };
    let loaded: Found | null | Promise<Found | null>;
    try {
      loaded = tokens.load(token);
    } catch (error) {
      // A sealer that opens its tokens at once fails at once, too.
      loaded = Promise.reject(error);
    }
    return loaded instanceof Promise ? loaded.then(judge, absent) : judge(loaded);
  }

  #judge(found: Found | null): LookedUp | Promise<LookedUp> {
    const { emit, now, currentStamp } = this.#environment;
    if (found === null || found.standing === 'replaced') return found;
    const { record } = found;
    if (found.standing === 'reused') {
      if (this.slot.isHandshake) return { standing: 'replaced', sessionId: record.id };
      emit({ type: 'reuse', ...idsOf(record) });
      return this.#environment.onReuse === 'revoke' ? this.#endForeign(found, 'reuse') : null;
    }
    if (isExpired(record, now(), policyOf(record, this.#environment))) {
      emit({ type: 'expired', ...idsOf(record) });
      return null;
    }
    return currentStamp && record.userId !== null ? this.#checkStamp(found, currentStamp) : found;
  }

  async #checkStamp(found: LookedUp & Held, currentStamp: CurrentStamp): Promise<LookedUp> {
    const { userId, meta } = found.record;
    const stamp = await currentStamp(userId as string);
    return isStampOf(meta.stamp, stamp) ? found : this.#endForeign(found, 'stamp');
  }

  async #endForeign(held: Held, reason: EndReason): Promise<null> {
    const { tokens, emit } = this.#environment;
    if (await tokens.end(held)) emit({ type: 'ended', reason, ...idsOf(held.record) });
    return null;
  }

  /** What cannot be read is absent for the visitor, and told as an event. Other errors are thrown again. */
  #nullIfCorrupt(error: unknown): null {
    this.#loading = null;
    if (!(error instanceof SessionRecordCorruptError)) throw error;
    this.#environment.emit({ type: 'corrupt', error });
    return null;
  }

  #adopt(record: SessionRecord): void {
    this.#userId = record.userId;
    this.#expiry = record.expiry;
    this.#meta = record.meta;
    const accessed = this.#data?.accessed ?? false;
    this.#taken = undefined;
    this.#data = new TrackedData(record.data, this.#environment.limits);
    this.#data.accessed = accessed;
    this.#requests = NO_REQUESTS;
  }

  // --- What a handler sees and asks for ---

  get data(): TrackedData {
    return (this.#data ??= new TrackedData({}, this.#environment.limits));
  }

  get record(): Readonly<SessionRecord> | null {
    return this.#held?.record ?? null;
  }

  /** Was a token presented that another one has replaced, and none that is live? */
  get isReplaced(): boolean {
    return this.#gone;
  }

  /** What the client holds, or will hold; null before the first save. */
  get token(): string | null {
    return this.#held?.token ?? null;
  }

  get id(): string {
    return this.record?.id ?? (this.#freshId ??= createSessionId());
  }

  /** Of the session, and of the one that a login in this request takes the place of. */
  get recordIds(): string[] {
    return [this.id, ...(this.#predecessor ? [this.#predecessor.held.record.id] : [])];
  }

  get userId(): string | null {
    return this.#userId;
  }

  /** When the user logged in, in epoch milliseconds. Null: nobody has, or it is not known. */
  get authenticatedAt(): number | null {
    return this.#userId === null || this.#meta.moved ? null : this.#createdAt;
  }

  get expiry(): SessionExpiry {
    return this.#expiry;
  }

  set expiry(expiry: SessionExpiry) {
    this.assertWritable();
    if (expiry === this.#expiry) return;
    this.#expiry = expiry;
    this.data.accessed = true;
  }

  /** When the session ends unless it is used again, by what was asked for so far, in epoch milliseconds. */
  get endsAt(): number {
    const { record } = this;
    const asStored = record?.expiry === this.#expiry && this.#requests.renewed !== true;
    return asStored ? record.expiresAt : this.#deadline(this.now());
  }

  /** The timeouts that apply to this session. */
  get policy(): ExpiryPolicy {
    return policyOf({ meta: this.#meta }, this.#environment);
  }

  /** Does anything but the data differ from the record? */
  get metadataChanged(): boolean {
    const { record } = this;
    return this.#userId !== (record?.userId ?? null) || this.#expiry !== (record?.expiry ?? null);
  }

  get empty(): boolean {
    return this.data.size === 0 && this.#expiry === null && this.#userId === null;
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
    // Where the cookie is the session, it would have to be removed.
    if (this.slot.noCookie !== undefined && !this.#writable) this.#refuseNewCookie();
    this.#leaveRecord(reason);
    this.#data = undefined;
    this.data.markWritten();
    this.#userId = this.#expiry = null;
    this.#meta = {};
    this.#requests = NO_REQUESTS;
  }

  /** Asks for a new secret. */
  rotate(): void {
    this.#assertRotatable();
    this.data.markWritten();
    for (const key of this.#environment.login.secrets) this.data.delete(key);
    this.#request('rotated');
  }

  /** Starts a new session for this user. The one that was there ends with the commit that saves this one. */
  login(userId: string, options: LoginOptions): void {
    this.#assertRotatable();
    const { login } = this.#environment;
    const [former, same] = [this.#userId, this.#userId === userId];
    const dropped = former === null ? [...login.neverKeep, ...login.secrets] : login.secrets;
    const keeps = former === null || same ? keepsAtLogin(same || (options.keep ?? true), dropped) : null;
    const { remember = same && this.#meta.remembered === true, stamp } = options;
    if (this.#held) {
      const reason = keeps ? 'login' : 'user-changed';
      this.#predecessor = { held: this.#held, reason, keeps };
    } else if (this.#predecessor && !keeps) {
      this.#predecessor.keeps = null;
    }
    this.#startAnew();
    if (keeps) {
      for (const key of this.data.keys()) if (!keeps(key)) this.data.delete(key);
    } else {
      this.data.clear();
      this.#expiry = null;
    }
    this.data.markWritten();
    this.#userId = userId;
    const device = this.slot.describeDevice?.();
    this.#meta = {
      ...(remember && { remembered: true }),
      ...(stamp !== undefined && { stamp: hashStamp(stamp) }),
      ...(device && { device }),
    };
    this.#requests = { loggedIn: true };
  }

  renew(): void {
    this.assertWritable();
    this.#request('renewed');
  }

  /** A new, empty session takes the place of this one, which ends and stays readable. */
  replace(): LiveSession {
    this.#assertRotatable();
    const successor = new LiveSession(this.#environment, this.#sent, this.slot, this.#old);
    this.#leaveRecord('logout');
    successor.loaded = successor.#ended = true;
    successor.#toEnd = this.#toEnd;
    successor.#work = this.#work;
    successor.data.markWritten();
    this.#toEnd = [];
    this.#closed = 'This session was replaced by regenerate(). Use the new one, `request.session`.';
    this.slot.session = successor;
    return successor;
  }

  // --- Reaching the store ---

  /** What a commit does, or undefined when there is nothing to tell the store and nothing on its way to it. */
  commit(failed: boolean): void | Promise<void> {
    const ends = this.#toEnd.length > 0 || this.#expiresAtOnce() || this.#oldMustEnd(failed);
    if (this.#work !== null || ends) return this.persist(failed);
    const plan = this.#plan(failed);
    if (this.#isNothing(plan)) return undefined;
    return this.#enqueue(() => this.#carryOut(plan));
  }

  /**
   * Brings the store up to date: ended records are deleted, and one write does the rest. Calls queue up. After an
   * error the changes are still there, so that the next call tries again.
   * @param failed the response is a server error: only ends reach the store
   */
  persist(failed = false): Promise<void> {
    return Promise.resolve(this.#enqueue(() => this.#perform(failed)));
  }

  /** Like `persist`, for a caller who must know that the session could not be kept. */
  async save(): Promise<void> {
    await this.persist();
    if (!this.#gone) return;
    throw new SessionGoneError(
      'The session ended elsewhere while this code worked on it, so its changes were dropped. Treat the visitor as logged out.',
    );
  }

  /** Makes a record at once, even of an empty session. */
  async createRecord(): Promise<void> {
    await this.#write('create', this.data.delta());
  }

  /** What the client has to be told, when the store has done its part. */
  cookieFacts(failed: boolean): CookieFacts {
    return {
      presented: this.#sent.length > 0,
      live: this.#held !== null,
      ended: this.#ended,
      tokenChanged: this.token !== this.#admitted,
      deadlineMoved: (this.#environment.saveEveryRequest && !failed) || this.#deadlineMoved(),
    };
  }

  /** Undefined: it is done already. */
  #enqueue(task: () => void | Promise<void>): void | Promise<void> {
    const run = this.#work === null ? task() : this.#work.then(task, task);
    if (!run) return undefined;
    const done = (): void => {
      if (this.#work === run) this.#work = null;
    };
    this.#work = run;
    // A forgotten save must not bring the process down; the commit meets the same error again.
    run.then(done, done);
    return run;
  }

  #plan(failed: boolean): Plan {
    const { record } = this;
    const environment = this.#environment;
    const now = environment.now();
    const delta = failed || !this.#data ? null : this.#data.delta();
    const facts: CommitFacts = {
      live: record !== null,
      gone: this.#gone,
      accessed: this.#data?.accessed ?? false,
      failed,
      rotated: this.#requests.rotated === true,
      changed: !failed && (this.metadataChanged || (delta !== null && this.data.isChangedBy(delta))),
      renewed:
        this.#requests.renewed === true ||
        this.#data?.forced === true ||
        (environment.saveEveryRequest && this.#writable),
      empty: this.empty,
      touchDue:
        record !== null &&
        this.#writable &&
        now >= environment.touchesRestUntil &&
        touchDue(record, now, this.policy),
      renewalDue: record !== null && !this.#responseLeft && renewalDue(record, now, environment.renewAfter),
    };
    return { step: planStore(facts), facts, delta };
  }

  async #perform(failed: boolean): Promise<void> {
    if (!failed && this.#expiresAtOnce()) this.end('expiry');
    // First, and not without success: as long as the old session is there, its cookie brings back what ends here.
    if (this.#oldMustEnd(failed)) await this.#old?.end();
    if (this.#toEnd.length > 0) await this.#endLeftRecords();
    const plan = this.#plan(failed);
    if (!this.#isNothing(plan)) await this.#carryOut(plan);
  }

  /** Does this commit end the session or log in, while the session of another library may still be there? */
  #oldMustEnd(failed: boolean): boolean {
    if (!this.#old || this.#old.spent) return false;
    return this.#ended || (!failed && this.#requests.loggedIn === true);
  }

  /** Changes that nothing comes of are reported as lost, if they are. */
  #isNothing({ step, facts }: Plan): boolean {
    if (step !== 'nothing') return false;
    if (facts.changed) this.#reportLoss();
    return true;
  }

  #carryOut({ step, facts, delta }: Plan): void | Promise<void> {
    return step === 'touch'
      ? this.#touch(delta, facts.renewed)
      : this.#write(step, delta ?? this.data.delta());
  }

  async #endLeftRecords(): Promise<void> {
    const { tokens, emit } = this.#environment;
    for (let left = this.#toEnd[0]; left; left = this.#toEnd[0]) {
      const ended = await tokens.end(left.held);
      this.#toEnd.shift();
      // Else a concurrent request has ended it, and has told so.
      if (ended) emit({ type: 'ended', reason: left.reason, ...idsOf(left.held.record) });
    }
  }

  /** Undefined: it is done already, as with sessions in cookies. */
  #write(step: StoreStep, delta: Delta): void | Promise<void> {
    this.#assertDeliverable(step);
    const [before, generation, served] = [this.#held, this.#generation, this.#requests];
    const settle = (after: Held | null): void => {
      if (after) this.#saved({ before, after, delta, served, generation });
      else if (generation === this.#generation) this.#lose();
    };
    const after =
      before === null || step === 'create' ? this.#create(delta) : this.#save(step, before, delta);
    return after instanceof Promise ? after.then(settle) : settle(after);
  }

  #save(step: StoreStep, before: Held, delta: Delta): Held | null | Promise<Held | null> {
    const { tokens, advise } = this.#environment;
    const next = this.#nextRecord(delta.snapshot);
    const changes = this.#changesWith(delta);
    const advice = advise && loginAdvice(changes, next.userId);
    if (advice) advise(advice);
    return step === 'save'
      ? tokens.save(before, changes, next)
      : this.#rotate(before, changes, next, step === 'renew');
  }

  async #rotate(
    before: Held,
    changes: SessionChanges,
    next: SessionRecord,
    overlap: boolean,
  ): Promise<Held | null> {
    const { tokens, replacedTokens, emit } = this.#environment;
    const after = await tokens.rotate(before, changes, next, { overlap });
    if (after) {
      if (!overlap) replacedTokens.add(before.token, next.id);
      emit({ type: 'rotated', reason: overlap ? 'renewal' : 'cycle', ...idsOf(next) });
    }
    return after;
  }

  /** Null: a login or a rotation of another request has just brought the cookie that counts. */
  async #create(delta: Delta): Promise<Held | null> {
    const { tokens, replacedTokens, emit, advise } = this.#environment;
    const isReplaced = (): boolean =>
      !this.#ended && this.#presented.some((token) => replacedTokens.find(token) !== undefined);
    if (!this.#requests.loggedIn) {
      if (isReplaced()) return null;
      const record = this.#nextRecord(delta.snapshot);
      const advice = advise && loginAdvice({ set: record.data }, record.userId);
      if (advice) advise(advice);
      const created = await tokens.create(record);
      if (isReplaced()) {
        await tokens.end(created);
        return null;
      }
      if (this.#ended) this.#markReplaced(null);
      emit({ type: 'created', ...idsOf(created.record) });
      return created;
    }
    await this.#addStamp();
    const predecessor = this.#predecessor;
    let created = await tokens.create(this.#nextRecord(delta.snapshot));
    emit({ type: 'created', ...idsOf(created.record) });
    try {
      await this.#environment.afterLogin?.(created.record, predecessor?.held.record.id);
      for (const token of this.#presented)
        replacedTokens.announce(token, predecessor?.held.record.id ?? null);
      if (predecessor) created = await this.#takeOver(predecessor, created, delta);
    } catch (error) {
      // The login failed, so nothing of it may stay. The session from before is still there.
      for (const token of this.#presented) replacedTokens.withdraw(token);
      await tokens.end(created).catch(() => {});
      if (error instanceof SessionsPerUserError) {
        this.#gone = true;
        this.#predecessor = null;
      }
      throw error;
    }
    if (this.#predecessor === predecessor) this.#predecessor = null;
    this.#markReplaced(predecessor?.held.record.id ?? null);
    emit({ type: 'login', ...idsOf(created.record) });
    return created;
  }

  /** Requests that are still on their way with these tokens must not start a session in place of this one. */
  #markReplaced(sessionId: string | null): void {
    for (const token of this.#presented) this.#environment.replacedTokens.add(token, sessionId);
  }

  /** Ends the session from before a login, and carries over what others have written to it since it was loaded. */
  async #takeOver({ held, reason, keeps }: Predecessor, created: Held, delta: Delta): Promise<Held> {
    const { tokens, emit } = this.#environment;
    const taken = await tokens.take(held).catch((error: unknown) => this.#nullIfCorrupt(error));
    if (taken) emit({ type: 'ended', reason, ...idsOf(taken) });
    if (!keeps || taken?.version === held.record.version) return created;
    // What was carried over from a session that somebody else has ended has ended with it.
    const data = applyChanges(
      taken ? dropAtLogin(taken.data, keeps) : (Object.create(null) as SessionRecord['data']),
      delta.changes,
    );
    if (encodeSnapshot(data) === encodeSnapshot(created.record.data)) return created;
    return (await tokens.save(created, { clear: true, set: data }, { ...created.record, data })) ?? created;
  }

  /** Without a stamp of its own, a login is bound to the credential that the user has now. */
  async #addStamp(): Promise<void> {
    const { currentStamp } = this.#environment;
    if (!currentStamp || this.#userId === null || this.#meta.stamp !== undefined) return;
    const stamp = await currentStamp(this.#userId);
    if (stamp !== null) this.#meta = { ...this.#meta, stamp: hashStamp(stamp) };
  }

  /** @param asked did the application ask for it? If not, the answer is good without it. */
  async #touch(delta: Delta | null, asked: boolean): Promise<void> {
    const { emit, now } = this.#environment;
    try {
      await this.#moveDeadline(delta);
    } catch (error) {
      if (asked) throw error;
      this.#environment.touchesRestUntil = now() + TOUCHES_REST_FOR;
      emit({ type: 'touch-failed', sessionId: this.id, userId: this.userId, problem: safeMessage(error) });
    }
  }

  async #moveDeadline(delta: Delta | null): Promise<void> {
    this.#assertDeliverable('touch');
    const { tokens } = this.#environment;
    const [before, generation, served] = [this.#held as Held, this.#generation, this.#requests];
    const next = this.#nextRecord(delta?.snapshot ?? before.record.data);
    // A touch only moves a deadline forward. Shorter options move it back, which takes a save.
    const forward = next.expiresAt >= before.record.expiresAt;
    const after = await (forward ? tokens.touch(before, next) : tokens.save(before, {}, next));
    if (after) this.#saved({ before, after, delta, served, generation });
    else if (this.#requests === served) this.#requests = NO_REQUESTS;
  }

  /** The store holds this record now. What was asked for while it was on its way is still to do. */
  #saved(write: {
    before: Held | null;
    after: Held;
    delta: Delta | null;
    served: Requests;
    generation: number;
  }): void {
    const { before, after, delta, served, generation } = write;
    if (delta) this.#data?.saved(delta);
    if (generation === this.#generation) {
      this.#hold(after);
      const { rotation } = after.record.meta;
      if (this.#requests === served) {
        this.#meta = after.record.meta;
        this.#requests = NO_REQUESTS;
      } else if (rotation) {
        this.#meta = { ...this.#meta, rotation };
      }
    } else if (before === null) {
      // The session was left while its record was being made.
      this.#toEnd.push({ held: after, reason: 'logout' });
    } else if (this.#predecessor?.held === before) {
      this.#predecessor.held = after;
    }
  }

  #hold({ token, record }: Held): void {
    this.#held = { token, record };
  }

  /** The record went away. */
  #lose(): void {
    this.#unreportedLoss = this.id;
    this.#reportLoss();
    this.#lost = this.#held;
    this.#held = null;
    this.#freshId = null;
    this.#gone = true;
    this.#requests = NO_REQUESTS;
  }

  /** Tells, once, that changes were dropped because the record went away. */
  #reportLoss(): void {
    if (this.#unreportedLoss === null) return;
    this.#environment.emit({ type: 'write-after-end', sessionId: this.#unreportedLoss });
    this.#unreportedLoss = null;
  }

  /** Marks the record for deletion, and stands for another session from here on. */
  #leaveRecord(reason: EndReason): void {
    // A session that went away since it was loaded may only have got another secret.
    for (const held of [this.#held ?? this.#lost, this.#predecessor?.held]) {
      if (held) this.#toEnd.push({ held, reason });
    }
    this.#predecessor = null;
    this.#ended = true;
    this.#startAnew();
  }

  #startAnew(): void {
    this.#held = this.#lost = null;
    this.#freshId = this.#unreportedLoss = null;
    this.#gone = false;
    this.#taken = undefined;
    this.#generation += 1;
  }

  #request(request: keyof Requests): void {
    this.#requests = { ...this.#requests, [request]: true };
  }

  #assertDeliverable(step: StoreStep): void {
    if ((step === 'create' && this.#responseLeft) || !this.#writable) this.#refuseNewCookie();
  }

  #assertRotatable(): void {
    this.assertWritable();
    if (this.#responseLeft) this.#refuseNewCookie();
  }

  /** Can what is there be written without a new cookie that would have to follow it? */
  get #writable(): boolean {
    return !(this.#responseLeft && this.#environment.tokens.everyWriteRenames);
  }

  #refuseNewCookie(): never {
    throw new SessionCommittedError(this.slot.noCookie ?? NO_NEW_KEY);
  }

  /** What the store has to be told so that the record becomes like this. */
  #changesWith(delta: Delta): SessionChanges {
    const { record } = this;
    const changes = { ...delta.changes };
    if (this.#expiry !== record?.expiry) changes.expiry = this.#expiry;
    if (this.#meta !== record?.meta) changes.meta = this.#meta;
    return changes;
  }

  #nextRecord(data: SessionRecord['data']): SessionRecord {
    const { record } = this;
    const now = this.#environment.now();
    return {
      id: this.id,
      keyHash: record?.keyHash ?? '',
      userId: this.#userId,
      data,
      expiry: this.#expiry,
      createdAt: record?.createdAt ?? now,
      lastSeenAt: now,
      expiresAt: this.#deadline(now),
      version: record?.version ?? 1,
      meta: this.#meta,
    };
  }

  get #createdAt(): number {
    return this.record?.createdAt ?? this.#environment.now();
  }

  /** When the session ends unless it is used after `now`. */
  #deadline(now: number): number {
    return deadlineOf(this.#expiry, this.record?.createdAt ?? now, now, this.policy);
  }

  #expiresAtOnce(): boolean {
    if (this.#expiry === null || this.#expiry === 0 || !this.metadataChanged) return false;
    const now = this.#environment.now();
    return this.#deadline(now) <= now;
  }

  get #browserLength(): boolean {
    return expiresAtBrowserClose(this.#expiry, this.policy);
  }

  #deadlineMoved(): boolean {
    const { record } = this;
    if (!record || !this.#known) return false;
    if (this.#known.browserLength !== this.#browserLength) return true;
    // A cookie knows whole seconds, and clocks of stores are converted to ours: less than a second is no move.
    return !this.#browserLength && Math.abs(record.expiresAt - this.#known.expiresAt) >= 1000;
  }
}

/** Milliseconds. A store that cannot write now is not asked again by every request. */
const TOUCHES_REST_FOR = 5000;

const NO_NEW_KEY =
  'The session needs a new key, but the response has begun, so no cookie can be set. Do it earlier.';

const ON_A_SOCKET =
  'This needs a new session cookie, which a socket cannot set in the browser. Do it over HTTP, and open the socket again ' +
  'afterwards.';

const RESPONSE_LEFT =
  'The session was changed after the response had begun, so the change can reach neither the store nor the ' +
  'cookie. Change it earlier, or call `await session.reload()` first and `await session.save()` afterwards.';

function idsOf({ id, userId }: SessionRecord) {
  return { sessionId: id, userId };
}
