import { readCookies, removeCookieHeaders, setCookieHeader } from './cookie-header.js';

const KEY = 'aB3-_'.padEnd(43, 'x');
const OTHER = 'z'.repeat(43);

describe('readCookies', () => {
  it.each([
    ['no header', undefined, []],
    ['an empty header', '', []],
    ['other cookies only', 'a=1; b=sessionid', []],
    ['the only cookie', `sessionid=${KEY}`, [KEY]],
    ['one among others', `a=1; sessionid=${KEY}; b=2`, [KEY]],
    ['no space after the semicolon', `a=1;sessionid=${KEY};b=2`, [KEY]],
    ['spaces around name and value', `  sessionid = ${KEY} ; a=1`, [KEY]],
    ['a name without a value', 'sessionid', []],
    ['an empty value', 'sessionid=', ['']],
    ['an encoded value, as it is', 'sessionid=%41%00', ['%41%00']],
    ['a value with =', 'sessionid=a=b', ['a=b']],
    ['another case', `SessionID=${KEY}`, []],
    ['a longer name', `xsessionid=${KEY}; sessionid2=${KEY}`, []],
    ['the name inside of a value', `a=sessionid=${KEY}`, []],
    [
      'all of the name, in their order',
      `sessionid=b; x=1; sessionid=${OTHER}; sessionid=${KEY}`,
      ['b', OTHER, KEY],
    ],
  ])('%s', (_name, header, value) => {
    expect(readCookies(header, 'sessionid')).toEqual(value);
  });

  it('finds names that mean something to objects', () => {
    expect(readCookies(`__proto__=${KEY}`, '__proto__')).toEqual([KEY]);
    expect(readCookies('a=1', 'constructor')).toEqual([]);
    expect(readCookies('constructorr=1', 'constructor')).toEqual([]);
  });
});

const cookie = {
  name: 'sessionid',
  path: '/',
  httpOnly: true,
  secure: false,
  sameSite: 'lax',
  partitioned: false,
} as const;

describe('setCookieHeader', () => {
  it('writes a key as it is read', () => {
    const key = 'e1.aB3-_+/=%25!~';
    const header = setCookieHeader('sessionid', key, cookie, null, 0);
    expect(header).toBe(`sessionid=${key}; Path=/; HttpOnly; SameSite=Lax`);
    expect(readCookies(header, 'sessionid')).toEqual([key]);
  });

  it('writes all attributes', () => {
    const attributes = { ...cookie, domain: 'example.com', priority: 'high', partitioned: true } as const;
    expect(setCookieHeader('sessionid', KEY, attributes, 1500, 0).split('; ')).toEqual([
      `sessionid=${KEY}`,
      'Max-Age=2',
      'Domain=example.com',
      'Path=/',
      'Expires=Thu, 01 Jan 1970 00:00:01 GMT',
      'HttpOnly',
      'Partitioned',
      'Priority=High',
      'SameSite=Lax',
    ]);
  });

  it.each(['a;b', 'a b', 'a\r\nb', 'ä'])('refuses %j, which is no value of a cookie', (key) => {
    expect(() => setCookieHeader('sessionid', key, cookie, null, 0)).toThrow(TypeError);
  });
});

describe('removeCookieHeaders', () => {
  it('S42: removes the cookie from its place, and from those that it had before', () => {
    const former = [{ domain: undefined }, { domain: 'example.com', path: '/' }, { path: '/shop' }];
    const headers = removeCookieHeaders({ ...cookie, secure: true, domain: 'shop.example.com', former });
    expect(
      headers.map((header) => header.split('; ').filter((part) => /^(Domain|Path)=/.test(part))),
    ).toEqual([
      ['Domain=shop.example.com', 'Path=/'],
      ['Path=/'],
      ['Domain=example.com', 'Path=/'],
      ['Domain=shop.example.com', 'Path=/shop'],
    ]);
    for (const header of headers) expect(header).toMatch(/^sessionid=; Max-Age=0; .*Secure/);
  });

  it('says the same thing once', () => {
    expect(removeCookieHeaders({ ...cookie, former: [{ path: '/' }] })).toHaveLength(1);
  });
});
