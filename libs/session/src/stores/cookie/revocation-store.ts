/**
 * Where the cookie engine notes, on the server, which sessions have ended although their cookies still open. A subject is
 * `user:<user id>` or `session:<session id>`. Moments are epoch milliseconds.
 *
 * A store that cannot answer has to throw (`SessionStoreUnavailableError`, so that the visitor gets a 503): silence would
 * let ended sessions in.
 */
export interface RevocationStore {
  /** The latest moment noted for this subject, or null. */
  revokedBefore(subject: string): Promise<number | null>;

  /**
   * Notes a moment. One that is noted already and later stays.
   * @param keepUntil from this moment on the note may be forgotten
   */
  revokeBefore(subject: string, moment: number, keepUntil: number): Promise<void>;

  /** Deletes one batch of notes that may be forgotten, and returns how many. */
  clearExpired?(batchSize: number): Promise<number>;

  /** Called when the application shuts down. Releases what the store opened itself. */
  close?(): Promise<void>;
}

const FEW = 1000;

interface Note {
  moment: number;
  keepUntil: number;
}

/**
 * For tests, and for applications of a single process that may forget with a restart.
 *
 * @example
 * ```ts
 * cookieEngine({ secrets, revocations: new MemoryRevocationStore() })
 * ```
 */
export class MemoryRevocationStore implements RevocationStore {
  private readonly notes = new Map<string, Note>();
  /** So many notes are looked through for those that may be forgotten. */
  private full = FEW;

  revokedBefore(subject: string): Promise<number | null> {
    const note = this.notes.get(subject);
    return Promise.resolve(note && Date.now() < note.keepUntil ? note.moment : null);
  }

  revokeBefore(subject: string, moment: number, keepUntil: number): Promise<void> {
    if (this.notes.size >= this.full) this.forget();
    const noted = this.notes.get(subject);
    this.notes.set(subject, {
      moment: Math.max(moment, noted?.moment ?? moment),
      keepUntil: Math.max(keepUntil, noted?.keepUntil ?? keepUntil),
    });
    return Promise.resolve();
  }

  private forget(): void {
    const now = Date.now();
    for (const [subject, { keepUntil }] of this.notes) if (keepUntil <= now) this.notes.delete(subject);
    // Twice as many as are left, so that a note costs two looks however many there are.
    this.full = Math.max(FEW, 2 * this.notes.size);
  }
}
