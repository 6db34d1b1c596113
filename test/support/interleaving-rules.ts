import { isDeepStrictEqual } from 'node:util';
import { toStoreKey } from '../../libs/session/src/session/session-key.js';
import { TWO_HOURS } from './interleaving-kinds.js';
import { initialData, type Race, type Racer, type Scenario } from './interleaving-race.js';
import { type Seen } from './interleaving-site.js';

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;

/** What is wrong with how a race went out: nothing, if every rule holds. */
export async function judge(race: Race): Promise<string[]> {
  const faults: string[] = [];
  const seen = new Map<string, Seen>();
  const keys = new Set([race.key, ...race.racers.flatMap(({ answer }) => keysOf(answer))]);
  await Promise.all(
    [...keys].map(async (key) => {
      const found = await race.site.look(key);
      if (found) seen.set(key, found);
    }),
  );
  const { kept, lost, made, ends, revocations } = sortOut(race);

  for (const { tag, answer } of race.racers) {
    if (answer && answer.status !== 200) faults.push(`"${tag}" was answered with ${answer.status}`);
    if (answer && ![race.id, null].includes(answer.found)) faults.push(`"${tag}" found another session`);
  }

  // Ended stays ended, under every key and every id.
  const living = [...seen].filter(([, { id }]) => id === race.id);
  const end = whetherEnded(race, kept, ends, revocations);
  if (end === 'ended' && living.length > 0) faults.push('the session lives on though it was ended');
  if (end === 'not ended' && living.length === 0) faults.push('the session is lost though nobody ended it');
  for (const { tag, answer } of lost) {
    if (answer?.left !== null) faults.push(`"${tag}", whose session went away, has made another one`);
    if (answer?.cookie !== undefined) faults.push(`"${tag}", whose session went away, has set the cookie`);
  }

  // Whoever came with a key that had just been replaced leaves the cookie alone: the visitor has got a new one.
  for (const { tag, kind, answer } of race.racers.filter((racer) => cameLate(race, racer, kept))) {
    const alone = answer?.left === null && answer.cookie === undefined;
    if (!kind.logsIn && !kind.ends && !alone)
      faults.push(`"${tag}" came with a replaced key and touched the cookie`);
  }

  // One key opens it, the newest.
  const newest = lastOf(kept.filter(({ kind }) => kind.rotates));
  const expectedKeys = newest.length === 0 ? [race.key] : newest.map(({ answer }) => answer?.key);
  if (living.length > 1) faults.push(`${living.length} keys open the session`);
  for (const [key] of living) if (!expectedKeys.includes(key)) faults.push('an old key opens the session');
  for (const { tag, kind, answer } of kept) {
    if (kind.rotates && answer?.cookie !== answer?.key) faults.push(`"${tag}" has not told its new key`);
  }

  for (const [, session] of living) faults.push(...faultsOf(session, race, kept));

  // Sessions that others have started, having found none.
  for (const racer of made) {
    const session = seen.get(racer.answer?.key ?? '');
    const ended = revocations.map((revocation) => endsMade(race, revocation, racer));
    if (ended.includes('yes') && session) faults.push(`the session of "${racer.tag}" outlived its user's`);
    if (!ended.includes('yes') && !ended.includes('perhaps') && !session) {
      faults.push(`the session of "${racer.tag}" is lost`);
    }
    if (session) faults.push(...faultsOfMade(session, race, racer));
  }
  const madeIds = made.map(({ answer }) => answer?.left);
  if ([...seen.values()].some(({ id }) => id !== race.id && !madeIds.includes(id))) {
    faults.push('there is a session that nobody has started');
  }

  faults.push(...(await faultsOfStore(race, seen)));
  return faults;
}

function keysOf(answer: Racer['answer']): string[] {
  return [answer?.key, answer?.cookie].filter((key): key is string => Boolean(key));
}

/** The racers by what became of them. */
function sortOut({ id, racers, scenario }: Race) {
  const found = racers.filter(({ answer }) => answer?.found === id);
  const ends = found.filter((racer) => !racer.kind.revokes && mayEnd(racer, id, scenario));
  const kept = found.filter((racer) => racer.answer?.left === id);
  return {
    ends,
    /** Their work is in the session, or so they say. */
    kept,
    lost: found.filter((racer) => !kept.includes(racer) && !ends.includes(racer)),
    /** They have started a session of their own. */
    made: racers.filter(
      (racer) =>
        racer.answer && racer.answer.left !== null && racer.answer.left !== id && !lostIncludes(racer, id),
    ),
    revocations: racers.filter(({ kind }) => kind.revokes),
  };

  function lostIncludes(racer: Racer, session: string): boolean {
    return racer.answer?.found === session && !ends.includes(racer);
  }
}

function whetherEnded(
  race: Race,
  kept: Racer[],
  ends: Racer[],
  revocations: Racer[],
): 'ended' | 'not ended' | 'either' {
  if (ends.length > 0) return 'ended';
  if (revocations.length > 0 && race.scenario.owner === 'user') return 'ended';
  const logins = kept.filter(({ kind }) => kind.logsIn === 'user');
  const pairs = logins.flatMap((login) => revocations.map((revocation) => [login, revocation] as const));
  if (pairs.some(([login, revocation]) => isBefore(login, revocation))) return 'ended';
  // A logout that came with a key just replaced ends the session, too: as long as its way can be followed.
  const rotations = kept.filter(({ kind }) => kind.rotates);
  const logouts = race.racers.filter(({ kind, answer }) => kind.ends && answer?.found === null);
  if (rotations.length === 1 && logouts.some((racer) => cameLate(race, racer, kept))) return 'ended';
  // Of a rotation that it interrupted nothing is kept.
  if (race.racers.some(({ kind }) => kind.rotates) && logouts.length > 0) return 'either';
  return pairs.every(([login, revocation]) => isBefore(revocation, login)) ? 'not ended' : 'either';
}

function endsMade(race: Race, revocation: Racer, racer: Racer): 'yes' | 'no' | 'perhaps' {
  if (racer.kind.logsIn !== 'user' || isBefore(revocation, racer)) return 'no';
  return isBefore(racer, revocation) ? 'yes' : 'perhaps';
}

/** Was the commit of one over before that of the other began? */
function isBefore(one: Racer, other: Racer): boolean {
  const [ends, begins] = [commitOf(one).at(-1), commitOf(other)[0]];
  return ends !== undefined && begins !== undefined && ends < begins;
}

/** Did this request load the session when it had been rotated, and not ended? */
function cameLate({ id, racers, scenario }: Race, racer: Racer, kept: Racer[]): boolean {
  const loads = racer.walker.taken.slice(0, racer.loadSteps);
  const [first, last] = [loads[0], loads.at(-1)];
  if (racer.answer?.found !== null || first === undefined || last === undefined) return false;
  const rotated = kept.some((other) => other.kind.rotates && (commitOf(other).at(-1) ?? last) < first);
  const ended = racers.some(
    (other) =>
      (mayEnd(other, id, scenario) || (other.kind.ends && other.answer?.found === null)) &&
      (commitOf(other)[0] ?? Infinity) < last,
  );
  return rotated && !ended;
}

function mayEnd({ kind, answer }: Racer, id: string, { owner }: Scenario): boolean {
  if (kind.revokes) return true;
  const changesUser = kind.logsIn === 'otherUser' && owner === 'user';
  return answer?.found === id && (kind.ends === true || changesUser);
}

function commitOf({ walker, loadSteps }: Racer): number[] {
  return walker.taken.slice(loadSteps);
}

/** Those that none of the others came after; of commits that overlapped, either may be the last. */
function lastOf(racers: Racer[]): Racer[] {
  return racers.filter((racer) => !racers.some((other) => isBefore(racer, other)));
}

/** Everybody who was told that his work is kept finds it in the session, and nobody else does. */
function faultsOf(session: Seen, race: Race, kept: Racer[]): string[] {
  const faults: string[] = [];
  const expected: Record<string, unknown> = { ...initialData };
  for (const key of ['a', 'b', 'since']) {
    const tags = lastOf(kept.filter(({ kind }) => kind.sets?.includes(key))).map(({ tag }) => tag);
    if (tags.length > 0) expected[key] = tags.find((tag) => tag === session.data[key]) ?? tags.join(' or ');
  }
  const counters = kept.filter(({ kind }) => kind.counts);
  expected['n'] = initialData.n + counters.length;
  expected['items'] = [...initialData.items, ...counters.map(({ tag }) => tag)].toSorted();
  for (const key of kept.flatMap(({ kind }) => kind.removes ?? [])) delete expected[key];
  const { items } = session.data;
  const actual = { ...session.data, items: Array.isArray(items) ? items.map(String).toSorted() : items };
  if (!isDeepStrictEqual(actual, expected)) {
    faults.push(`the session holds ${JSON.stringify(actual)} instead of ${JSON.stringify(expected)}`);
  }

  const logins = lastOf(kept.filter(({ kind }) => kind.logsIn));
  const users =
    logins.length === 0
      ? [race.scenario.owner === 'user' ? race.user : null]
      : logins.map(({ kind }) => race[kind.logsIn ?? 'user']);
  if (!users.includes(session.userId)) faults.push(`the session is that of ${session.userId}`);

  const lifetime = session.expiresAt - Date.now();
  const short = kept.some(({ kind }) => kind.expires);
  if (short ? Math.abs(lifetime - TWO_HOURS * 1000) > 5 * MINUTE : lifetime < 13 * DAY) {
    faults.push(`the session has ${lifetime} ms to live`);
  }
  if (Math.abs(session.createdAt - race.createdAt) > MINUTE) faults.push('the session has become younger');
  return faults;
}

/** A session that began in this race holds nothing of the one that the race is about. */
function faultsOfMade(session: Seen, race: Race, { kind, tag, answer }: Racer): string[] {
  const expected = {
    ...Object.fromEntries((kind.sets ?? []).map((key) => [key, tag])),
    ...(kind.counts && { n: 1, items: [tag] }),
  };
  const user = kind.logsIn ? race[kind.logsIn] : null;
  const same =
    session.id === answer?.left && session.userId === user && isDeepStrictEqual(session.data, expected);
  return same ? [] : [`the new session of "${tag}" is ${JSON.stringify(session)}`];
}

/** Nothing lives in the store but what the keys open, and the users' lists say the same. */
async function faultsOfStore({ site, storeKeys, user, otherUser }: Race, seen: Map<string, Seen>) {
  const faults: string[] = [];
  const known = new Set([...seen.keys()].map(toStoreKey));
  for (const key of storeKeys) {
    if (!known.has(key) && (await site.store.exists(key)))
      faults.push('a session lives under a key that nobody has');
  }
  for (const owner of [user, otherUser]) {
    const listed = (await site.store.listByUser(owner)).map(({ id }) => id).toSorted();
    const theirs = [...seen.values()].filter(({ userId }) => userId === owner).map(({ id }) => id);
    if (!isDeepStrictEqual(listed, theirs.toSorted())) faults.push(`the list of ${owner} is wrong`);
  }
  return faults;
}
