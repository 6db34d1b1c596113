import { hash } from 'node:crypto';

/** Longer than a request may be on its way. Milliseconds. */
const REMEMBERED_FOR = 60_000;
/** The oldest are forgotten when there are more. */
const MOST = 10_000;

interface Replaced {
  /** Of the session that the token opened; null: it opened nothing. */
  readonly sessionId: string | null;
  readonly until: number;
  /** Somebody is about to replace it, and may still fail. */
  readonly pending: boolean;
}

/**
 * Tokens in whose place a login or a rotation has just put another one. A request that was sent with such a token before
 * the answer arrived must not start a session: its cookie would take the place of the new one. Known in this process only.
 */
export class ReplacedTokens {
  /** By a hash of the token. The oldest come first. */
  private readonly tokens = new Map<string, Replaced>();

  constructor(private readonly now: () => number) {}

  /** Somebody is about to replace this token: from now on no request with it may start a session. */
  announce(token: string, sessionId: string | null): void {
    if (!this.find(token)) this.put(token, sessionId, true);
  }

  /** It was not replaced after all; unless another request was faster. */
  withdraw(token: string): void {
    if (this.find(token)?.pending) this.tokens.delete(digest(token));
  }

  add(token: string, sessionId: string | null): void {
    this.put(token, sessionId, false);
  }

  /** Undefined: it was not replaced, or not lately. */
  find(token: string): Replaced | undefined {
    if (this.tokens.size === 0) return undefined;
    const found = this.tokens.get(digest(token));
    return found && found.until > this.now() ? found : undefined;
  }

  private put(token: string, sessionId: string | null, pending: boolean): void {
    const now = this.now();
    for (const [oldest, { until }] of this.tokens) {
      if (until > now && this.tokens.size < MOST) break;
      this.tokens.delete(oldest);
    }
    this.tokens.set(digest(token), { sessionId, until: now + REMEMBERED_FOR, pending });
  }
}

function digest(token: string): string {
  return hash('sha256', `nest-sessions:replaced:${token}`, 'base64url');
}
