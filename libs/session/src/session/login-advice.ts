import { type SessionChanges } from '../stores/session-store.js';

/** Keys under which applications keep who is logged in, when they do it by hand. */
const LOOKS_LIKE_A_USER = /^(user|account|member)(_?id)?$|^uid$/i;

const advised = new Set<string>();

/**
 * What to tell a developer whose application logs users in by writing a key: the old session key would go on to open the
 * session. Once per key and process; null when there is nothing to tell.
 */
export function loginAdvice({ set = {} }: SessionChanges, userId: string | null): string | null {
  if (userId !== null) return null;
  const key = Object.keys(set).find((name) => LOOKS_LIKE_A_USER.test(name) && !advised.has(name));
  if (key === undefined) return null;
  advised.add(key);
  return (
    `The session key ${JSON.stringify(key)} was written without session.login(). If it says who is logged in, call ` +
    'session.login(userId): it replaces the session key, so that nobody who had it before is logged in as well.'
  );
}
