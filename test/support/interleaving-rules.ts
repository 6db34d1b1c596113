import { isDeepStrictEqual } from 'node:util';
import { TWO_HOURS } from './interleaving-kinds.js';
import { initialData, type Race, type Racer } from './interleaving-race.js';
import { type Seen } from './interleaving-site.js';

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;

/**
 * What is wrong with how a race went out: nothing, if every rule holds.
 *
 * All requests come with the key of one session. Those that change it say by their answer whether that was kept. A login
 * starts a session of its own and ends the shared one, and so does a logout, or the end of all sessions of the user.
 */
export async function judge(race: Race): Promise<string[]> {
  const seen = new Map<string, Seen>();
  const keys = new Set([race.key, ...race.racers.flatMap(({ answer }) => keysOf(answer))]);
  await Promise.all(
    [...keys].map(async (key) => {
      const session = await race.site.look(key);
      if (session) seen.set(key, session);
    }),
  );
  return [
    ...faultsOfAnswers(race),
    ...faultsOfShared(race, seen),
    ...faultsOfLogins(race, seen),
    ...faultsOfMade(race, seen),
    ...(await faultsOfStore(race, seen)),
  ];
}

function keysOf(answer: Racer['answer']): string[] {
  return [answer?.key, answer?.cookie].filter((key): key is string => Boolean(key));
}

// --- Who did what ---

function found({ answer }: Racer, { id }: Race): boolean {
  return answer?.found === id;
}

/** Their work is in the shared session, or so they say. */
function keptBy(race: Race): Racer[] {
  return race.racers.filter(
    (racer) => found(racer, race) && !racer.kind.logsIn && !racer.kind.ends && racer.answer?.left === race.id,
  );
}

/** Each of these ends the shared session. */
function endsOf(race: Race): Racer[] {
  return race.racers.filter((racer) =>
    racer.kind.revokes
      ? race.scenario.owner === 'user'
      : found(racer, race) && Boolean(racer.kind.ends ?? racer.kind.logsIn),
  );
}

/** Was the commit of one over before that of the other began? */
function isBefore(one: Racer, other: Racer): boolean {
  const [ends, begins] = [commitOf(one).at(-1), commitOf(other)[0]];
  return ends !== undefined && begins !== undefined && ends < begins;
}

function commitOf({ walker, loadSteps }: Racer): number[] {
  return walker.taken.slice(loadSteps);
}

/** Those that none of the others came after; of commits that overlapped, either may be the last. */
function lastOf(racers: Racer[]): Racer[] {
  return racers.filter((racer) => !racers.some((other) => isBefore(racer, other)));
}

/** Had another request replaced the key, by a rotation or a login, before this one looked, and nobody ended it? */
function cameLate(race: Race, racer: Racer): boolean {
  const first = racer.walker.taken[0];
  if (racer.answer?.found !== null || first === undefined) return false;
  const others = race.racers.filter((other) => other !== racer);
  const isDone = (other: Racer): boolean => (commitOf(other).at(-1) ?? Infinity) < first;
  const replaced = [...keptBy(race).filter(({ kind }) => kind.rotates), ...logins(race)].some(
    (other) => other !== racer && found(other, race) && isDone(other),
  );
  const ended = others.some((other) => {
    const ends = other.kind.revokes ? race.scenario.owner === 'user' : other.kind.ends;
    return ends && (other.walker.taken[0] ?? Infinity) < (racer.walker.taken.at(-1) ?? 0);
  });
  return replaced && !ended;
}

function logins({ racers }: Race): Racer[] {
  return racers.filter(({ kind, answer }) => kind.logsIn && answer);
}

// --- The rules ---

function faultsOfAnswers(race: Race): string[] {
  const faults: string[] = [];
  for (const racer of race.racers) {
    const { tag, kind, answer } = racer;
    if (!answer) continue;
    if (answer.status !== 200) faults.push(`"${tag}" was answered with ${answer.status}`);
    if (![race.id, null].includes(answer.found)) faults.push(`"${tag}" found another session`);
    if (kind.ends || kind.logsIn) continue;
    const untouched = answer.left === null && answer.cookie === undefined;
    if (found(racer, race) && answer.left !== race.id && !untouched) {
      faults.push(`"${tag}", whose session went away, has made another one or touched the cookie`);
    }
    if (cameLate(race, racer) && !untouched) {
      faults.push(`"${tag}" came with a replaced key and touched the cookie`);
    }
  }
  return faults;
}

function faultsOfShared(race: Race, seen: Map<string, Seen>): string[] {
  const living = [...seen].filter(([, { id }]) => id === race.id);
  const kept = keptBy(race);
  const rotations = kept.filter(({ kind }) => kind.rotates);
  if (rotations.length > 1) return ['two rotations of one key were kept'];
  for (const { tag, answer } of rotations) {
    if (answer?.cookie !== answer?.key) return [`"${tag}" has not told its new key`];
  }
  if (endsOf(race).length > 0) {
    return living.length > 0 ? ['the session lives on though it was ended'] : [];
  }
  if (living.length === 0) return ['the session is lost though nobody ended it'];
  if (living.length > 1) return [`${living.length} keys open the session`];
  const [[key, session]] = living as [[string, Seen]];
  const faults = key === (rotations[0]?.answer?.key ?? race.key) ? [] : ['an old key opens the session'];
  if (!holds(session, [fullData(race, session)])) {
    faults.push(`the session holds ${JSON.stringify(session.data)}`);
  }
  if (session.userId !== (race.scenario.owner === 'user' ? race.user : null)) {
    faults.push(`the session is that of ${session.userId}`);
  }
  const lifetime = session.expiresAt - Date.now();
  const short = kept.some(({ kind }) => kind.expires);
  if (short ? Math.abs(lifetime - TWO_HOURS * 1000) > 5 * MINUTE : lifetime < 13 * DAY) {
    faults.push(`the session has ${lifetime} ms to live`);
  }
  if (Math.abs(session.createdAt - race.createdAt) > MINUTE) faults.push('the session has become younger');
  return faults;
}

/** A login stands, and what it carries over has lost no write that was kept. */
function faultsOfLogins(race: Race, seen: Map<string, Seen>): string[] {
  const faults: string[] = [];
  const full: Racer[] = [];
  for (const login of logins(race)) {
    const { tag, kind, answer } = login;
    const session = seen.get(answer?.key ?? '');
    const revocations = race.racers.filter((racer) => racer.kind.revokes && kind.logsIn === 'user');
    const mustBeGone = revocations.some((revocation) => isBefore(login, revocation));
    const mayBeGone = revocations.some((revocation) => !isBefore(revocation, login));
    if (answer?.cookie !== answer?.key) faults.push(`"${tag}" has not told its key`);
    if (answer?.left === race.id) faults.push(`"${tag}" has started no session of its own`);
    if (mustBeGone && session) faults.push(`the session of "${tag}" outlived its user's`);
    if (!mayBeGone && !session) faults.push(`the login of "${tag}" is lost`);
    if (!session) continue;
    if (session.id !== answer?.left || session.userId !== race[kind.logsIn ?? 'user']) {
      faults.push(`the session of "${tag}" is ${JSON.stringify(session)}`);
    }
    if (Math.abs(session.createdAt - Date.now()) > 10 * MINUTE) faults.push(`"${tag}" began too early`);
    const carriesOver = race.scenario.owner === 'visitor' || kind.logsIn === 'user';
    const others = endsOf(race).filter((other) => other !== login);
    const mayBeOwn = !found(login, race) || !carriesOver || others.some((other) => !isBefore(login, other));
    const mayBeFull = found(login, race) && carriesOver && !others.some((other) => isBefore(other, login));
    const own = { since: tag };
    const all = { ...fullData(race, session), since: tag };
    if (!holds(session, [...(mayBeOwn ? [own] : []), ...(mayBeFull ? [all] : [])])) {
      faults.push(
        `the session of "${tag}" holds ${JSON.stringify(session.data)}, kept was ${JSON.stringify(all)}`,
      );
    }
    if (!isDeepStrictEqual(sorted(session.data), own)) full.push(login);
  }
  if (full.length > 1) faults.push('two logins carry the same session over');
  return faults;
}

/** Sessions that others have started, having found none, hold nothing of the shared one. */
function faultsOfMade(race: Race, seen: Map<string, Seen>): string[] {
  const faults: string[] = [];
  const made = race.racers.filter(
    ({ kind, answer }) => answer && !kind.logsIn && answer.found === null && answer.left !== null,
  );
  for (const { kind, tag, answer } of made) {
    const session = seen.get(answer?.key ?? '');
    const expected = {
      ...Object.fromEntries((kind.sets ?? []).map((key) => [key, tag])),
      ...(kind.counts && { n: 1, items: [tag] }),
    };
    if (!session) faults.push(`the session of "${tag}" is lost`);
    else if (session.id !== answer?.left || session.userId !== null || !holds(session, [expected])) {
      faults.push(`the new session of "${tag}" is ${JSON.stringify(session)}`);
    }
  }
  const started = [race.id, ...race.racers.map(({ answer }) => answer?.left)];
  if ([...seen.values()].some(({ id }) => !started.includes(id))) {
    faults.push('there is a session that nobody has started');
  }
  return faults;
}

/** Nothing lives in the store but what the keys open, and the users' lists say the same. */
async function faultsOfStore({ site, storeIds, user, otherUser }: Race, seen: Map<string, Seen>) {
  const faults: string[] = [];
  const known = new Set([...seen.values()].map(({ id }) => id));
  for (const id of storeIds) {
    if (!known.has(id) && (await site.store.load(id))) faults.push('a session lives that no key opens');
  }
  for (const owner of [user, otherUser]) {
    const listed = (await site.store.listByUser(owner)).map(({ id }) => id).toSorted();
    const theirs = [...seen.values()].filter(({ userId }) => userId === owner).map(({ id }) => id);
    if (!isDeepStrictEqual(listed, theirs.toSorted())) faults.push(`the list of ${owner} is wrong`);
  }
  return faults;
}

/**
 * The data that the shared session began with, and what was kept since.
 * @param actual of keys that several have written at the same time, any of their values will do
 */
function fullData(race: Race, actual: Seen): Record<string, unknown> {
  const kept = keptBy(race);
  const expected: Record<string, unknown> = { ...initialData };
  for (const key of ['a', 'b']) {
    const tags = lastOf(kept.filter(({ kind }) => kind.sets?.includes(key))).map(({ tag }) => tag);
    if (tags.length > 0) expected[key] = tags.find((tag) => tag === actual.data[key]) ?? tags.join(' or ');
  }
  const counters = kept.filter(({ kind }) => kind.counts);
  expected['n'] = initialData.n + counters.length;
  expected['items'] = [...initialData.items, ...counters.map(({ tag }) => tag)];
  for (const key of kept.flatMap(({ kind }) => kind.removes ?? [])) delete expected[key];
  return expected;
}

function holds({ data }: Seen, allowed: Record<string, unknown>[]): boolean {
  return allowed.some((expected) => isDeepStrictEqual(sorted(data), sorted(expected)));
}

/** Pushes of several requests come in any order. */
function sorted(data: Record<string, unknown>): Record<string, unknown> {
  const { items } = data;
  return Array.isArray(items) ? { ...data, items: items.map(String).toSorted() } : { ...data };
}
