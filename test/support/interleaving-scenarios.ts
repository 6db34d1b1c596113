import { basicKinds, type KindName, kinds, repeatedKinds } from './interleaving-kinds.js';
import { type Scenario } from './interleaving-race.js';
import { testsAll } from './test-all.js';

const allKinds = Object.keys(kinds) as KindName[];
const otherKinds = allKinds.filter((name) => !basicKinds.includes(name));
/** What one of the others could be at odds with. */
const company: readonly KindName[] = ['write a', 'logout', 'login', 'rotate'];

/**
 * Every two requests. If everything is tested, also every three of the basic kinds, and one of the other kinds with two
 * that it could be at odds with. The session of a visitor who has not logged in is of interest only where somebody does.
 */
export function allScenarios(): Scenario[] {
  const ofThree = [
    ...combinations(basicKinds, 3),
    ...otherKinds.flatMap((name) => combinations(company, 2).map((pair) => [name, ...pair])),
  ];
  const sets = [...combinations(allKinds, 2), ...(testsAll ? ofThree : [])];
  return [
    ...sets.map((requests): Scenario => ({ owner: 'user', requests })),
    ...sets
      .filter((requests) => requests.includes('login') || requests.includes('login as another'))
      .map((requests): Scenario => ({ owner: 'visitor', requests })),
  ];
}

/** What each requirement is about. A scenario belongs to the first that takes it. */
const requirements: [title: string, isAbout: (scenario: Scenario) => boolean][] = [
  [
    'S34, S35: nothing in flight brings an ended session back, under any key or id',
    (scenario) => hasEnd(scenario) && scenario.requests.length === 2,
  ],
  ['S36: an end holds against two other requests, rotations and logins among them', hasEnd],
  ['S45: a key that was removed stays removed', ({ requests }) => requests.includes('remove')],
  [
    'S112: a late request restores neither key nor lifetime, and a login stands',
    ({ requests }) =>
      requests.some(
        (name) => 'rotates' in kinds[name] || 'logsIn' in kinds[name] || 'expires' in kinds[name],
      ),
  ],
  ['S109: the writes of all are kept', () => true],
];

export function scenariosByRequirement(): [title: string, scenarios: Scenario[]][] {
  const scenarios = allScenarios();
  return requirements
    .map(([title, isAbout], index): [string, Scenario[]] => {
      const earlier = requirements.slice(0, index);
      return [title, scenarios.filter((one) => isAbout(one) && !earlier.some(([, takes]) => takes(one)))];
    })
    .filter(([, own]) => own.length > 0);
}

function hasEnd({ owner, requests }: Scenario): boolean {
  return requests.some(
    (name) =>
      'ends' in kinds[name] || 'revokes' in kinds[name] || (name === 'login as another' && owner === 'user'),
  );
}

/** All ways to take so many of these, whatever their order. */
function combinations(names: readonly KindName[], count: number): KindName[][] {
  if (count === 0) return [[]];
  return names.flatMap((name, index) => {
    const others = names.slice(repeatedKinds.includes(name) ? index : index + 1);
    return combinations(others, count - 1).map((rest) => [name, ...rest]);
  });
}
