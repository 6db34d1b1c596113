import { SessionUnsupportedError, SessionValueError } from '../../session.errors.js';
import { type Protection, TokenFormat } from '../sealing.js';
import { checkSecrets, KeyRing } from '../secrets.js';
import { SessionSealer } from '../session-sealer.js';
import { type SessionRecord } from '../session-store.js';
import { type ContentForm, decodeContent, encodeContent } from './content.js';
import { type RevocationStore } from './revocation-store.js';

/** The options of `CookieSealer`. Only `secrets` is required. */
export interface CookieSealerOptions {
  /**
   * The secret that seals cookies: 32 random bytes or more, as text. In a list, the first one seals and all of them open:
   * put a new one in front, and remove the old one when its cookies have expired.
   */
  secrets: string | readonly string[];
  /**
   * Sign cookies instead of encrypting them: nobody can change one, but **everybody who has one can read it**.
   * @default false
   */
  signedOnly?: boolean;
  /**
   * Compress sessions above 512 bytes. The length of a cookie then reveals something of its content, though it is padded,
   * so leave it off if a session holds secrets beside text that others choose.
   * @default false
   */
  compress?: boolean;
  /** Where to record ended sessions, so that a logout holds against copies of the cookie. Default: nowhere. */
  revocations?: RevocationStore;
}

const DAY = 86_400_000;
/** No browser keeps a cookie longer. Where sessions can be revoked, no token opens longer without being sealed anew. */
const LONGEST_LIFE = 400 * DAY;
/** How far apart the clocks of two machines may be. */
const CLOCKS_DIFFER = DAY / 24;

/**
 * Keeps sessions in their cookies, and nothing on the server but, if wanted, a note of those that have ended.
 *
 * @throws SessionConfigError when a secret is short, or well known
 *
 * @example
 * ```ts
 * // `cookieEngine()` makes one. Ends all logins of a user from before this moment:
 * await sealer.revokeBefore(userId, new Date());
 * ```
 */
export class CookieSealer extends SessionSealer {
  private readonly tokens: TokenFormat;
  private readonly form: ContentForm;
  private readonly revocations: RevocationStore | undefined;

  constructor({ secrets, signedOnly = false, compress = false, revocations }: CookieSealerOptions) {
    super();
    const use: Protection = signedOnly ? 'sign' : 'encrypt';
    this.tokens = new TokenFormat(new KeyRing(checkSecrets(secrets), use, 'cookie'), use);
    // What anybody can read has no length to hide.
    this.form = { compress, pad: !signedOnly };
    this.revocations = revocations;
  }

  isToken(text: string): boolean {
    return this.tokens.isToken(text);
  }

  seal(record: SessionRecord, purpose: string): string {
    // Notes of ended sessions can be forgotten because of this.
    const latest = this.revocations ? record.lastSeenAt + LONGEST_LIFE : Infinity;
    const sealed = record.expiresAt > latest ? { ...record, expiresAt: latest } : record;
    return this.tokens.seal(encodeContent(sealed, this.form), purpose);
  }

  open(token: string, purpose: string): SessionRecord | null {
    const content = this.tokens.open(token, purpose);
    return content && decodeContent(content);
  }

  /**
   * Ends this user's sessions whose login was before a moment; those of a later login live. Anyone with a copy of
   * their cookies is out, too.
   * @param moment default: now
   * @throws SessionUnsupportedError without the option `revocations`
   */
  async revokeBefore(userId: string, moment: Date | number = this.now()): Promise<void> {
    if (!this.revocations) {
      throw new SessionUnsupportedError(
        'The cookie engine cannot end sessions that clients carry. Give it the option "revocations", or use an engine ' +
          'that keeps sessions on the server.',
      );
    }
    const before = Number(moment);
    if (Number.isNaN(before)) throw new SessionValueError('moment', 'is not a moment. Give a valid Date.');
    await this.revocations.revokeBefore(userSubject(userId), before, this.keepUntil());
  }

  override isRevoked(record: SessionRecord): boolean | Promise<boolean> {
    return this.revocations ? this.isNoted(record, this.revocations) : false;
  }

  override async revoke({ id }: SessionRecord, until: number): Promise<void> {
    const [now, needed] = [this.now(), until + CLOCKS_DIFFER];
    if (needed <= now) return;
    await this.revocations?.revokeBefore(sessionSubject(id), now, Math.min(needed, this.keepUntil()));
  }

  override clearExpired(batchSize: number): Promise<number> {
    return this.revocations?.clearExpired?.(batchSize) ?? Promise.resolve(0);
  }

  override async close(): Promise<void> {
    await this.revocations?.close?.();
  }

  private async isNoted(
    { id, userId, createdAt }: SessionRecord,
    revocations: RevocationStore,
  ): Promise<boolean> {
    const [ended, revokedBefore] = await Promise.all([
      revocations.revokedBefore(sessionSubject(id)),
      userId === null ? null : revocations.revokedBefore(userSubject(userId)),
    ]);
    return ended !== null || (revokedBefore !== null && createdAt < revokedBefore);
  }

  /** As long as a token sealed before can live, and a day for requests that seal one while the note is taken. */
  private keepUntil(): number {
    return this.now() + LONGEST_LIFE + DAY;
  }
}

function userSubject(userId: string): string {
  return `user:${userId}`;
}

function sessionSubject(id: string): string {
  return `session:${id}`;
}
