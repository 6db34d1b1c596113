import { type Session } from 'nest-sessions';

interface Of {
  /** Different for every request. */
  tag: string;
  user: string;
  otherUser: string;
}

/** What a request does to the session that it has loaded. */
export interface Kind {
  act(session: Session, of: Of): void;
  /** Keys whose value is then its tag. */
  sets?: string[];
  removes?: string[];
  counts?: true;
  expires?: true;
  rotates?: true;
  ends?: true;
  logsIn?: 'user' | 'otherUser';
  /** Is no request of the session's visitor: somebody ends all sessions of the user. */
  revokes?: true;
}

export const TWO_HOURS = 2 * 60 * 60;

export const kinds = {
  'write a': { sets: ['a'], act: (session, { tag }) => session.set('a', tag) },
  'write b': { sets: ['b'], act: (session, { tag }) => session.set('b', tag) },
  read: { act: (session) => void session.get('a') },
  touch: { act: (session) => void session.touch() },
  logout: { ends: true, act: (session) => session.logout() },
  login: {
    logsIn: 'user',
    sets: ['since'],
    act(session, { tag, user }) {
      session.login(user);
      session.set('since', tag);
    },
  },
  rotate: { rotates: true, act: (session) => session.cycleKey() },
  revoke: { revokes: true, act: () => {} },

  remove: { removes: ['c'], act: (session) => void session.delete('c') },
  count: {
    counts: true,
    act(session, { tag }) {
      session.increment('n');
      session.push('items', tag);
    },
  },
  expire: { expires: true, act: (session) => session.setExpiry(TWO_HOURS) },
  'login as another': {
    logsIn: 'otherUser',
    sets: ['since'],
    act(session, { tag, otherUser }) {
      session.login(otherUser);
      session.set('since', tag);
    },
  },
} satisfies Record<string, Kind>;

export type KindName = keyof typeof kinds;

export const basicKinds: readonly KindName[] = [
  'write a',
  'write b',
  'read',
  'touch',
  'logout',
  'login',
  'rotate',
  'revoke',
];

/** Two of these could be at odds with each other. */
export const repeatedKinds: readonly KindName[] = [
  'write a',
  'count',
  'logout',
  'login',
  'login as another',
  'rotate',
];
