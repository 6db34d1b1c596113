import { Walker } from './interleaving.js';
import { type Kind, type KindName, kinds } from './interleaving-kinds.js';
import { type Answer, type Site } from './interleaving-site.js';
import { ago } from './interleaving-store.js';

export interface Scenario {
  /** Whose session the requests share: a visitor's who has not logged in, or a user's. */
  owner: 'visitor' | 'user';
  requests: readonly KindName[];
}

/** One of the requests that race. */
export interface Racer {
  kind: Kind;
  tag: string;
  walker: Walker;
  /** How many steps it took to load the session; all further ones are its commit. */
  loadSteps: number;
  /** Stays undefined for a revocation, which is no request with a session of its own. */
  answer: Answer | undefined;
}

/** A new session, and requests that have all come with its key at the same time. */
export interface Race {
  site: Site;
  scenario: Scenario;
  /** Users of this race alone. */
  user: string;
  otherUser: string;
  /** The session id and the first key of the session, and its creation. */
  id: string;
  key: string;
  createdAt: number;
  racers: Racer[];
  walkers: Walker[];
  /** All session ids that the requests have named. */
  storeIds: Set<string>;
}

export const initialData = { a: 'old', b: 'old', c: 'old', n: 1, items: ['old'] };

/** The session is so old that a touch moves its deadline, and so young that no request touches it unasked. */
const AGE = 60 * 60 * 1000;

let races = 0;

export async function startRace(site: Site, scenario: Scenario): Promise<Race> {
  const number = ++races;
  const [user, otherUser] = [`ada ${number}`, `grace ${number}`];
  const { left, key } = await ago(AGE, () =>
    site.send(null, (session) => {
      session.update(initialData);
      if (scenario.owner === 'user') session.login(user);
    }),
  );
  if (left === null || key === null) throw new Error('The session could not be made.');

  const storeIds = new Set<string>();
  const racers = scenario.requests.map((name, index): Racer => {
    const kind: Kind = kinds[name];
    const tag = `${name} ${index}`;
    const racer: Racer = { kind, tag, loadSteps: 0, answer: undefined, walker: undefined as never };
    racer.walker = new Walker(name, storeIds, async (walker) => {
      if (kind.revokes) {
        await site.store.deleteByUser(user);
        return;
      }
      racer.answer = await site.send(
        key,
        (session) => kind.act(session, { tag, user, otherUser }),
        () => (racer.loadSteps = walker.taken.length),
      );
    });
    return racer;
  });
  const createdAt = Date.now() - AGE;
  const walkers = racers.map(({ walker }) => walker);
  return { site, scenario, user, otherUser, id: left, key, createdAt, racers, walkers, storeIds };
}
