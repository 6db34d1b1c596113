import { anything, constantFrom, dictionary, sample } from 'fast-check';
import { SessionConfigError } from './session.errors.js';
import { type SessionOptions } from './session.options.js';
import { resolveOptions } from './options/resolve-options.js';

const DAY = 86_400_000;

describe('the defaults', () => {
  it('S46 S57: are those of the documentation', () => {
    const { excluded, ...options } = resolveOptions();
    expect(options).toEqual({
      application: '',
      cookie: {
        name: 'sessionid',
        path: '/',
        secure: 'auto',
        httpOnly: true,
        sameSite: 'lax',
        partitioned: false,
        former: [],
      },
      transport: { headers: [], cookie: true, first: 'cookie', vary: 'Cookie' },
      policy: {
        cookieAge: 14 * DAY,
        idleTimeout: 14 * DAY,
        absoluteTimeout: null,
        expireAtBrowserClose: false,
        sliding: true,
      },
      rememberedPolicy: {
        cookieAge: 30 * DAY,
        idleTimeout: 30 * DAY,
        absoluteTimeout: 90 * DAY,
        expireAtBrowserClose: false,
        sliding: true,
      },
      login: { neverKeep: [], secrets: ['csrfSecret', 'csrfToken', '_csrf'] },
      renewAfter: null,
      onReuse: 'report',
      sessionsPerUser: false,
      device: { ip: false, userAgent: false },
      warnings: [],
      saveEveryRequest: false,
      clearExpired: { schedule: { every: DAY }, jitter: 600_000, batchSize: 1000 },
      loading: 'lazy',
      limits: { size: 65_536, keys: 1000, keyLength: 128, depth: 32 },
      storeTimeout: 5000,
      sockets: { staleness: 1000, closeCode: 4401, closeReason: 'The session has ended.' },
    });
    expect(excluded('/anything')).toBe(false);
  });

  it('let the idle timeout follow the cookie, and the absolute timeout bound both', () => {
    expect(resolveOptions({ cookie: { maxAge: '1h' } }).policy.idleTimeout).toBe(3_600_000);
    expect(resolveOptions({ absoluteTimeout: '8h' }).policy.idleTimeout).toBe(8 * 3_600_000);
  });
});

describe('transport', () => {
  const bearer = { name: 'authorization', bearer: true, answer: 'Session-Key' };
  const own = { name: 'x-key', bearer: false, answer: 'X-Key' };

  it.each<[SessionOptions['transport'], object]>([
    ['cookie', { headers: [], cookie: true, first: 'cookie', vary: 'Cookie' }],
    [{ header: 'authorization' }, { headers: [bearer], cookie: false, first: bearer, vary: 'Authorization' }],
    [{ header: 'X-Key' }, { headers: [own], cookie: false, first: own, vary: 'X-Key' }],
    [
      ['cookie', { header: 'Authorization' }],
      { headers: [bearer], cookie: true, first: 'cookie', vary: 'Cookie, Authorization' },
    ],
    [
      [{ header: 'X-Key' }, 'cookie', { header: 'authorization' }],
      { headers: [own, bearer], cookie: true, first: own, vary: 'X-Key, Cookie, Authorization' },
    ],
  ])('%j', (transport, resolved) => {
    expect(resolveOptions({ ...(transport && { transport }) }).transport).toEqual(resolved);
  });
});

describe('durations', () => {
  it.each<[SessionOptions['idleTimeout'], number]>([
    [1800, 1_800_000],
    ['30m', 1_800_000],
    ['2w', 14 * DAY],
    [0.5, 500],
  ])('%p is %d ms', (idleTimeout, milliseconds) => {
    expect(resolveOptions({ idleTimeout: idleTimeout as string }).policy.idleTimeout).toBe(milliseconds);
  });
});

describe('S29: an assurance level', () => {
  const HOUR = DAY / 24;

  it.each([
    ['aal1', 14 * DAY, 30 * DAY],
    ['aal2', HOUR, DAY],
    ['aal3', HOUR / 4, DAY / 2],
  ] as const)(
    '%s gives its timeouts, to remembered sessions as well',
    (assurance, idleTimeout, absoluteTimeout) => {
      const { policy, rememberedPolicy, warnings } = resolveOptions({ assurance });
      expect(policy).toMatchObject({ idleTimeout, absoluteTimeout });
      expect(rememberedPolicy.absoluteTimeout).toBe(absoluteTimeout);
      expect(rememberedPolicy.idleTimeout).toBeLessThanOrEqual(absoluteTimeout);
      expect(warnings).toEqual([]);
    },
  );

  it('can be outdone, and what is weaker is named', () => {
    expect(resolveOptions({ assurance: 'aal2', idleTimeout: '10m' }).warnings).toEqual([]);
    expect(
      resolveOptions({
        assurance: 'aal2',
        idleTimeout: '2h',
        absoluteTimeout: false,
        remember: { idleTimeout: '30m', absoluteTimeout: '30d' },
      }).warnings,
    ).toEqual([
      expect.stringContaining('"idleTimeout"'),
      expect.stringContaining('"absoluteTimeout"'),
      expect.stringContaining('"remember.absoluteTimeout"'),
    ]);
  });
});

describe('remember', () => {
  it('keeps the cookie for as long as the session may rest, and never ends it with the browser', () => {
    const { rememberedPolicy } = resolveOptions({
      expireAtBrowserClose: true,
      remember: { idleTimeout: '20d', absoluteTimeout: false },
    });
    expect(rememberedPolicy).toEqual({
      cookieAge: 20 * DAY,
      idleTimeout: 20 * DAY,
      absoluteTimeout: null,
      expireAtBrowserClose: false,
      sliding: true,
    });
  });
});

describe('S30: bad options stop the start, naming the option', () => {
  const table: [option: string, options: SessionOptions | Record<string, unknown>][] = [
    ['application', { application: 'the shop' }],
    ['application', { application: 'shop:' }],
    ['idleTimeout', { idleTimeout: 0 }],
    ['idleTimeout', { idleTimeout: -1 }],
    ['idleTimeout', { idleTimeout: Number.NaN }],
    ['idleTimeout', { idleTimeout: 'soon' }],
    ['idleTimeout', { idleTimeout: '30' }],
    ['idleTimeout', { idleTimeout: '2d', absoluteTimeout: '1d' }],
    ['absoluteTimeout', { absoluteTimeout: Infinity }],
    ['assurance', { assurance: 'aal4' }],
    ['remember.idleTimeout', { remember: { idleTimeout: '100d' } }],
    ['remember.idleTimeout', { remember: { idleTimeout: 0 } }],
    ['remember.absoluteTimeout', { remember: { absoluteTimeout: -1 } }],
    ['renewAfter', { renewAfter: '1m' }],
    ['renewAfter', { renewAfter: 0 }],
    ['onReuse', { onReuse: 'ignore' }],
    ['login.keep', { login: { keep: ['cart'] } }],
    ['login.neverKeep', { login: { neverKeep: 'isAdmin' } }],
    ['currentStamp', { currentStamp: 'stamp' }],
    ['pepper.secrets', { pepper: {} }],
    ['storeTimeout', { storeTimeout: null }],
    ['sockets.staleness', { sockets: { staleness: '13d' } }],
    ['sockets.closeCode', { sockets: { closeCode: 1006 } }],
    ['sockets.closeReason', { sockets: { closeReason: 'ä'.repeat(62) } }],
    ['cookie.maxAge', { cookie: { maxAge: '401d' } }],
    ['cookie.name', { cookie: { name: 'a b' } }],
    ['cookie.name', { cookie: { name: '' } }],
    ['cookie.name', { cookie: { name: '__host-sid', secure: true } }],
    ['cookie.name', { cookie: { name: '__SECURE-sid', secure: true } }],
    ['cookie.path', { cookie: { path: 'admin' } }],
    ['cookie.path', { cookie: { path: '/;secure' } }],
    ['cookie.path', { cookie: { path: '/admin', name: '__Host-sid', secure: true } }],
    ['cookie.domain', { cookie: { domain: 'a\r\nSet-Cookie: b=c' } }],
    ['cookie.domain', { cookie: { domain: 'example.com', name: '__Host-sid', secure: true } }],
    ['cookie.secure', { cookie: { name: '__Host-sid' } }],
    ['cookie.secure', { cookie: { name: '__Secure-sid', secure: false } }],
    ['cookie.secure', { cookie: { sameSite: 'none' } }],
    ['cookie.secure', { cookie: { partitioned: true } }],
    ['cookie.sameSite', { cookie: { sameSite: 'Lax' } }],
    ['cookie.priority', { cookie: { priority: 'urgent' } }],
    ['cookie.maxage', { cookie: { maxage: 60 } }],
    ['cookie.forRequest', { cookie: { forRequest: { domain: 'example.com' } } }],
    ['transport', { transport: 'header' }],
    ['transport', { transport: { header: 5 } }],
    ['transport', { transport: { name: 'authorization' } }],
    ['transport', { transport: [] }],
    ['transport', { transport: ['cookie', 'cookie'] }],
    ['transport', { transport: [{ header: 'x-key' }, { header: 'X-Key' }] }],
    ['transport.header', { transport: { header: '' } }],
    ['transport.header', { transport: { header: 'x_key' } }],
    ['transport.header', { transport: { header: 'x-key\r\nSet-Cookie: a=b' } }],
    ['transport.header', { transport: { header: 'Set-Cookie' } }],
    ['transport[1].header', { transport: ['cookie', { header: 'cookie' }] }],
    ['transport[1].header', { transport: ['cookie', { header: 'Sec-Key' }] }],
    ['cookies', { cookies: {} }],
    ['loading', { loading: 'later' }],
    ['sessionsPerUser', { sessionsPerUser: 3 }],
    ['sessionsPerUser.max', { sessionsPerUser: { max: 0, policy: 'reject' } }],
    ['sessionsPerUser', { sessionsPerUser: { max: 3 } }],
    ['device', { device: 'ip' }],
    ['device.address', { device: { address: true } }],
    ['exclude[1]', { exclude: ['/health', '/a/:'] }],
    ['limits.size', { limits: { size: 0 } }],
    ['limits.depth', { limits: { depth: 1.5 } }],
    ['clearExpired.schedule', { clearExpired: { schedule: 'every day' } }],
    ['clearExpired.schedule', { clearExpired: { schedule: 0 } }],
    ['clearExpired.schedule', { clearExpired: { schedule: '30d' } }],
    ['clearExpired.jitter', { clearExpired: { jitter: '30d' } }],
    ['clearExpired.batchSize', { clearExpired: { batchSize: 0 } }],
    ['clearExpired', { clearExpired: true }],
  ];

  it.each(table)('S47 S52 S54: %s: %p', (option, options) => {
    let error: unknown;
    try {
      resolveOptions(options);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(SessionConfigError);
    expect(error).toMatchObject({ code: 'SESSION_CONFIG', option });
  });

  it('and nothing else is ever thrown', () => {
    const options = dictionary(
      constantFrom('cookie', 'idleTimeout', 'clearExpired', 'limits', 'exclude'),
      anything(),
    );
    const thrown = new Set(sample(options, 1000).map(codeOf));
    expect(thrown).toEqual(new Set([undefined, 'SESSION_CONFIG']));
  });
});

/** The code of what is thrown; undefined when the options are fine. */
function codeOf(options: Record<string, unknown>): string | undefined {
  try {
    resolveOptions(options);
    return undefined;
  } catch (error) {
    return (error as SessionConfigError).code ?? String(error);
  }
}

it.each([
  ['0 4 * * *', { cron: '0 4 * * *' }],
  ['0 0 4 * * 1-5', { cron: '0 0 4 * * 1-5' }],
  ['12h', { every: 43_200_000 }],
  [3600, { every: 3_600_000 }],
])('clearExpired.schedule %p', (schedule, expected) => {
  expect(resolveOptions({ clearExpired: { schedule } }).clearExpired).toMatchObject({ schedule: expected });
});

it.each([
  ['/health', true],
  ['/health/', true],
  ['/healthy', false],
  ['/assets/css/a.css', true],
  ['/assets', false],
  ['/%zz', false],
  ['/assets/%zz', true],
])('exclude: %s is excluded: %p', (path, excluded) => {
  expect(resolveOptions({ exclude: ['/health', '/assets/*path'] }).excluded(path)).toBe(excluded);
});
