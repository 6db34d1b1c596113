import { hash } from 'node:crypto';

/** Longer than a request may be on its way. Milliseconds. */
const REMEMBERED_FOR = 60_000;
/** The oldest are forgotten when there are more. */
const MOST = 10_000;

/**
 * Tokens in whose place a login or a rotation has just put another one. A request that was sent with such a token before
 * the answer arrived must not start a session: its cookie would take the place of the new one. Known in this process only.
 */
export class ReplacedTokens {
  /** By a hash of the token: until when it is remembered. The oldest come first. */
  private readonly tokens = new Map<string, number>();

  constructor(private readonly now: () => number) {}

  add(token: string): void {
    const now = this.now();
    for (const [oldest, until] of this.tokens) {
      if (until > now && this.tokens.size < MOST) break;
      this.tokens.delete(oldest);
    }
    this.tokens.set(digest(token), now + REMEMBERED_FOR);
  }

  has(token: string): boolean {
    if (this.tokens.size === 0) return false;
    return (this.tokens.get(digest(token)) ?? 0) > this.now();
  }
}

function digest(token: string): string {
  return hash('sha256', `nest-sessions:replaced:${token}`, 'base64url');
}
