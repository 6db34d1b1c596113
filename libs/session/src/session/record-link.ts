import { type SessionChanges, type SessionRecord } from '../stores/session-store.js';
import { type CommitFacts } from './commit-plan.js';
import { type SessionEnvironment } from './session-environment.js';
import { type EndReason, type RotationReason } from './session-events.js';
import { createSessionId } from './session-key.js';
import { lookUp } from './session-lookup.js';

/** No cookie, or the value of one. */
export type PresentedKey = string | undefined;

/** Where to find a record: by its key, or if that has changed, by its session id. */
interface Whereabouts {
  sessionKey: string;
  id: string;
  userId: string | null;
}

/**
 * What ties a session to its record: the key that was presented, the key that it has now, the record as it is in the
 * store, and what became of it. Every step that reaches the store for a session is here.
 */
export class RecordLink {
  presented: CommitFacts['presented'];
  /** The record is known to the store under `sessionKey`, as it is here. */
  record: SessionRecord | null = null;
  /** A record was ended by this session. */
  ended = false;
  /** There was a record, and somebody else took it away. */
  gone = false;
  /** A rotation had done so before this session was loaded: the presented key opens nothing. */
  replaced = false;
  /** Of what is gone, for the event, until it was told. */
  #goneId: string | null = null;
  readonly #presentedKey: PresentedKey;
  /** Private, so that no inspection or serialisation of this object can show it. */
  #sessionKey: string | null = null;
  #freshId: string | null = null;
  /** Records that are to be deleted by the next persist. */
  #doomed: (Whereabouts & { reason: EndReason })[] = [];
  /** The record that went away while this session worked on it. */
  #lost: Whereabouts | null = null;

  constructor(
    private readonly environment: SessionEnvironment,
    presentedKey: PresentedKey,
  ) {
    this.#presentedKey = presentedKey;
    this.presented =
      presentedKey === undefined
        ? 'nothing'
        : environment.keeper.isToken(presentedKey)
          ? 'unasked'
          : 'malformed';
  }

  get sessionKey(): string | null {
    return this.#sessionKey;
  }

  get id(): string {
    return this.record?.id ?? (this.#freshId ??= createSessionId());
  }

  /** The record is under another key than the client knows. */
  get keyChanged(): boolean {
    return this.#sessionKey !== this.#presentedKey;
  }

  /** There are records that the store has to be told to delete. */
  get hasDoomed(): boolean {
    return this.#doomed.length > 0;
  }

  /** Something went away, and nobody was told of it yet. */
  get hasUnreportedLoss(): boolean {
    return this.#goneId !== null;
  }

  /** Reads the record of the presented key. */
  async find(): Promise<SessionRecord | null> {
    const found = await lookUp(this.environment, this.#presentedKey as string);
    this.presented = found?.standing === 'live' ? 'live' : 'unknown';
    if (found?.standing === 'live') {
      this.#hold(found.token, found.record);
      this.environment.emit({ type: 'loaded', ...eventOf(found.record) });
    } else if (found) {
      // Whatever this request does, the one that rotated the session has answered with the cookie that counts.
      this.gone = this.replaced = true;
      this.#goneId = found.sessionId ?? this.id;
      // It may still log out: whoever had the key a moment ago had the session.
      if (found.sessionId !== null) {
        this.#lost = { sessionKey: this.#presentedKey as string, id: found.sessionId, userId: null };
      }
    }
    return this.record;
  }

  /** Reads the record again. Null: it is gone, or there never was one. */
  async findAgain(): Promise<SessionRecord | null> {
    const found = this.#sessionKey === null ? null : await lookUp(this.environment, this.#sessionKey);
    if (found?.standing !== 'live') return null;
    this.#hold(found.token, found.record);
    return found.record;
  }

  /** Marks the record for deletion, and ties the session to nothing. */
  doom(reason: EndReason): void {
    const whereabouts = this.#whereabouts() ?? this.#lost;
    if (whereabouts) this.#doomed.push({ ...whereabouts, reason });
    this.ended ||= whereabouts !== null;
    this.#lost = null;
    this.gone = this.replaced = false;
    this.#forget();
  }

  /** Leaves what has gone to itself: what is written from here on is another session. */
  startAnew(): void {
    this.#lost = null;
    this.gone = this.replaced = false;
  }

  /** Gives the deletions that are outstanding, and what is known of the client, to the link of another session. */
  handOverTo(successor: RecordLink): void {
    this.doom('logout');
    successor.presented = this.presented;
    successor.#doomed = this.#doomed;
    successor.ended = this.ended;
    this.#doomed = [];
  }

  async endDoomed(): Promise<void> {
    for (let doomed = this.#doomed[0]; doomed; doomed = this.#doomed[0]) {
      const { sessionKey, id, userId, reason } = doomed;
      const ended = await this.environment.keeper.end(sessionKey, id);
      this.#doomed.shift();
      // Else a concurrent request has ended it, and has told so.
      if (ended) this.environment.emit({ type: 'ended', reason, sessionId: id, userId });
    }
  }

  async create(record: SessionRecord): Promise<void> {
    this.#hold(await this.environment.keeper.create(record), record);
    this.environment.emit({ type: 'created', ...eventOf(record) });
  }

  /** False: the record was not touched, because others have written to it or it is gone. */
  async touch(record: SessionRecord): Promise<boolean> {
    const token = await this.environment.keeper.touch(this.#sessionKey as string, record);
    if (token !== null) this.#hold(token, record);
    return token !== null;
  }

  /** False: the record is gone, and nothing was written. */
  async save(changes: SessionChanges, record: SessionRecord): Promise<boolean> {
    const token = await this.environment.keeper.save(this.#sessionKey as string, changes, record);
    if (token === null) return this.#lose();
    this.#hold(token, { ...record, version: record.version + 1 });
    return true;
  }

  /** A save under another key. False: as with `save`. */
  async rotate(reason: RotationReason, changes: SessionChanges, record: SessionRecord): Promise<boolean> {
    const { keeper, emit } = this.environment;
    const step = reason === 'renewal' ? 'renew' : 'rename';
    const moved = await keeper[step](this.#sessionKey as string, changes, record);
    if (moved === null) return this.#lose();
    this.#hold(moved.token, { ...record, version: record.version + 1, meta: moved.meta });
    emit({ type: 'rotated', reason, ...eventOf(record) });
    return true;
  }

  /** The record has just been ended by others, and this session with it. */
  giveUp(): void {
    this.#forget();
    this.gone = true;
  }

  /** Tells, once, that changes were dropped because the record went away. */
  reportLoss(): void {
    if (this.#goneId === null) return;
    this.environment.emit({ type: 'write-after-end', sessionId: this.#goneId });
    this.#goneId = null;
  }

  #hold(sessionKey: string, record: SessionRecord): void {
    this.#sessionKey = sessionKey;
    this.record = record;
  }

  #lose(): false {
    this.#goneId = this.id;
    this.reportLoss();
    // A rotation may be what took it away. Should this request go on to log out, that has to hold all the same.
    this.#lost = this.#whereabouts();
    this.#forget();
    this.gone = true;
    return false;
  }

  #whereabouts(): Whereabouts | null {
    const sessionKey = this.#sessionKey;
    return sessionKey === null ? null : { sessionKey, id: this.id, userId: this.record?.userId ?? null };
  }

  #forget(): void {
    this.#sessionKey = null;
    this.record = null;
    this.#freshId = null;
  }
}

function eventOf({ id, userId }: SessionRecord) {
  return { sessionId: id, userId };
}
