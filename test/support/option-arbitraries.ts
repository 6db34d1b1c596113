import * as fc from 'fast-check';

/** Whatever a program may hand over. */
export const anything = fc.anything({
  withBigInt: true,
  withDate: true,
  withMap: true,
  withNullPrototype: true,
  withObjectString: true,
  withSparseArray: true,
  withTypedArray: true,
});

/** One of the good ones as a rule; sometimes a bad one, or anything. */
function one(good: readonly unknown[], bad: readonly unknown[] = []): fc.Arbitrary<unknown> {
  return fc.oneof(
    { arbitrary: fc.constantFrom(...good), weight: 60 },
    { arbitrary: fc.constantFrom(...bad, null, '', NaN, -1, {}, []), weight: 2 },
    { arbitrary: fc.oneof(anything, fc.string({ unit: 'binary' })), weight: 1 },
  );
}

/** An object with a few of these members, so that there is hope for it. */
function some(members: Record<string, fc.Arbitrary<unknown>>): fc.Arbitrary<unknown> {
  return fc.oneof(
    {
      arbitrary: fc
        .subarray(Object.entries(members), { maxLength: Math.min(4, Object.keys(members).length) })
        .chain((few) => fc.record(Object.fromEntries(few))),
      weight: 60,
    },
    { arbitrary: anything, weight: 1 },
  );
}

const list = (...args: Parameters<typeof one>): fc.Arbitrary<unknown> =>
  fc.array(one(...args), { maxLength: 3 });

const flag = one([true, false], ['auto', 0, 1, 'true']);
const duration = one(
  [1, 60, 3600, 0.5, '30m', '2w', '24d', '30d', '1y', '500ms'],
  [0, 1e300, Infinity, '1000000y', 'x', '1', '-1h', 5n, 1e-9, 1e12],
);
const count = one([1, 2, 1000, 2 ** 31], [0, 1.5, 2 ** 53, Infinity, '5']);

/** Options of `SessionModule.forRoot`, most of them good. */
export const sessionOptions = some({
  cookie: some({
    name: one(['sid', '__Host-sid', '__Secure-sid', 'a.b'], ['__HOST-a', 'a b', 'ä', 'a=b', 'a;b', '\0']),
    maxAge: one([60, '1d', '400d'], ['401d', '0s', 1e-9, 1e300]),
    domain: one(['example.org', '.example.org'], ['a\r\nSet-Cookie: b=c', 'a;b', ' ']),
    path: one(['/', '/a', '/a b'], ['a', '/a;b', '/\n', '/ä']),
    secure: one([true, false, 'auto'], ['true', 1]),
    httpOnly: flag,
    sameSite: one(['lax', 'strict', 'none', 'auto', false], ['Lax', true]),
    partitioned: flag,
    priority: one(['low', 'medium', 'high'], ['High']),
    forRequest: one([() => ({})], ['host']),
  }),
  transport: one(
    ['cookie', { header: 'authorization' }, ['cookie', { header: 'x-session-key' }]],
    [{ header: 'cookie' }, { header: 'a b' }, ['cookie', 'cookie'], { header: 5 }],
  ),
  expireAtBrowserClose: flag,
  saveEveryRequest: flag,
  idleTimeout: duration,
  sliding: flag,
  absoluteTimeout: duration,
  assurance: one(['aal1', 'aal2', 'aal3'], ['aal4']),
  remember: some({ idleTimeout: duration, absoluteTimeout: duration }),
  login: some({ neverKeep: list(['isAdmin'], [5]), secrets: list(['csrf'], [5]) }),
  renewAfter: duration,
  onReuse: one(['report', 'revoke']),
  sessionsPerUser: one(
    [false, { max: 5, policy: 'evict-oldest' }],
    [{ max: 0, policy: 'reject' }, { max: 1 }, true],
  ),
  device: one([true, false, { ip: true }], [{ ip: 1 }, { browser: true }]),
  currentStamp: one([() => null], ['hash']),
  clearExpired: fc.oneof(
    fc.constant(false),
    some({
      schedule: one(['1d', '0 4 * * *', 60], ['every day', 0, '30d']),
      jitter: duration,
      batchSize: count,
    }),
  ),
  loading: one(['lazy', 'eager'], ['later']),
  exclude: list(['/health', '/a/*path', '/:a', '/{a}'], ['/{a', '/*', 5, '\0']),
  limits: some({ size: count, keyLength: count, depth: count }),
  storeTimeout: duration,
  sockets: some({
    staleness: duration,
    closeCode: one([4401, 3000, 4999], [1000, 5000, 4000.5]),
    closeReason: one(['The session has ended.'], ['x'.repeat(124), 'ä'.repeat(62)]),
  }),
});
