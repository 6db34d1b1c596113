import {
  type SessionChanges,
  type SessionExpiry,
  type SessionMeta,
  type SessionRecord,
} from '../stores/session-store.js';
import { Dictionary } from './dictionary.js';
import { type Limits } from './json-value.js';

/** How `login` treats the session that there was before. */
export interface LoginOptions {
  /**
   * Which data of the anonymous session stay: all (true), none (false), or those under these keys. What the option
   * `login.neverKeep` names goes in any case. Default: true.
   */
  keep?: boolean | readonly string[];
  /**
   * The user wishes to be remembered: the timeouts of the option `remember` hold for this session. Default: as it is, for
   * a user who confirms who he is; else false.
   */
  remember?: boolean;
  /**
   * Any text that changes when this credential is no longer good, such as the password's hash; only a hash of it is
   * kept. The option `currentStamp` is asked for the present one with every load. Default: what `currentStamp` says.
   */
  stamp?: string;
}

/** What the application asked for besides changes. */
export interface Requests {
  /** A new key, by `cycleKey` or `login`. */
  readonly rotated: boolean;
  /** `login` was called, perhaps for the user who was bound already. */
  readonly loggedIn: boolean;
  /** The idle clock is to be restarted, whether that is due or not. */
  readonly renewed: boolean;
}

const NONE: Requests = { rotated: false, loggedIn: false, renewed: false };

/** A session as the application sees and changes it, apart from where it is kept and how it gets there. */
export class SessionDraft {
  userId: string | null = null;
  expiry: SessionExpiry = null;
  meta: SessionMeta = {};
  #requests: Requests = NONE;
  /** Made when it is first needed: a session that is loaded gets its data, the others an empty one. */
  #dictionary: Dictionary | undefined;

  constructor(private readonly limits: Limits) {}

  get dictionary(): Dictionary {
    return (this.#dictionary ??= new Dictionary({}, this.limits));
  }

  /** What was asked for, and not yet done. Another object after every request. */
  get requests(): Requests {
    return this.#requests;
  }

  ask(request: keyof Requests): void {
    this.#requests = { ...this.#requests, [request]: true };
  }

  get empty(): boolean {
    return this.dictionary.size === 0 && this.expiry === null && this.userId === null;
  }

  /** Becomes what the record says. What the application has done so far is forgotten, but that it looked. */
  adopt(record: SessionRecord): void {
    this.userId = record.userId;
    this.expiry = record.expiry;
    this.meta = record.meta;
    const accessed = this.#dictionary?.accessed ?? false;
    this.#dictionary = new Dictionary(record.data, this.limits);
    this.#dictionary.accessed = accessed;
    this.forgetRequests();
  }

  /** Becomes empty, as something that the application has done. */
  clear(): void {
    this.#dictionary = undefined;
    this.dictionary.markWritten();
    this.userId = null;
    this.expiry = null;
    this.meta = {};
    this.forgetRequests();
  }

  /** Removes data that a login does not take over. */
  keep(kept: boolean | readonly string[], never: readonly string[]): void {
    if (kept === false) this.dictionary.clear();
    else if (kept !== true) this.drop(this.dictionary.keys().filter((key) => !kept.includes(key)));
    this.drop(never);
  }

  drop(keys: readonly string[]): void {
    for (const key of keys) this.dictionary.delete(key);
  }

  /** @param facts what is known of this login; what was known of the last one goes */
  login(
    userId: string,
    facts: Pick<SessionMeta, 'authenticatedAfter' | 'remembered' | 'stamp' | 'device'>,
  ): void {
    const { rotation } = this.meta;
    this.userId = userId;
    this.meta = { ...facts, ...(rotation && { rotation }) };
    this.ask('loggedIn');
  }

  /**
   * The store holds this record now.
   * @param served the requests that are done with it; what was asked for while it was on its way is still to do
   */
  saved(record: SessionRecord, served: Requests): void {
    this.dictionary.saved(record.data);
    if (this.#requests === served) {
      this.meta = record.meta;
      this.forgetRequests();
    } else {
      const { rotation } = record.meta;
      this.meta = { ...this.meta, ...(rotation && { rotation }) };
    }
  }

  forgetRequests(): void {
    this.#requests = NONE;
  }

  /** Does anything but the dictionary differ from the record? */
  differsBesideData(record: Readonly<SessionRecord> | null): boolean {
    return this.userId !== (record?.userId ?? null) || this.expiry !== (record?.expiry ?? null);
  }

  /** What the store has to be told so that the record becomes like this. */
  changesTo(record: Readonly<SessionRecord> | null): SessionChanges {
    return {
      ...this.dictionary.changes(),
      ...((this.#requests.loggedIn || this.userId !== record?.userId) && { userId: this.userId }),
      // Also where it is as before but other timeouts hold: with an expiry, this request's deadline goes above those that
      // others have set meanwhile.
      ...((this.expiry !== record?.expiry || this.meta.remembered !== record.meta.remembered) && {
        expiry: this.expiry,
      }),
      ...(this.meta !== record?.meta && { meta: this.meta }),
    };
  }

  /** Django lets the application take back `modified`; then no data is saved until it writes again. */
  get dataChanged(): boolean {
    return this.dictionary.modified && Object.keys(this.dictionary.changes()).length > 0;
  }
}
