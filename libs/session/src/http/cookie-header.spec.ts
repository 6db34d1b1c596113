import { isSessionKey } from '../session/session-key.js';
import { readCookie as read } from './cookie-header.js';

const KEY = 'aB3-_'.padEnd(43, 'x');
const OTHER = 'z'.repeat(43);

function readCookie(header: string | undefined, name: string): string | undefined {
  return read(header, name, isSessionKey);
}

describe('readCookie', () => {
  it.each([
    ['no header', undefined, undefined],
    ['an empty header', '', undefined],
    ['other cookies only', 'a=1; b=sessionid', undefined],
    ['the only cookie', `sessionid=${KEY}`, KEY],
    ['one among others', `a=1; sessionid=${KEY}; b=2`, KEY],
    ['no space after the semicolon', `a=1;sessionid=${KEY};b=2`, KEY],
    ['spaces around name and value', `  sessionid = ${KEY} ; a=1`, KEY],
    ['a name without a value', 'sessionid', undefined],
    ['an empty value', 'sessionid=', ''],
    ['an encoded value, as it is', 'sessionid=%41%00', '%41%00'],
    ['a value with =', 'sessionid=a=b', 'a=b'],
    ['another case', `SessionID=${KEY}`, undefined],
    ['a longer name', `xsessionid=${KEY}; sessionid2=${KEY}`, undefined],
    ['the name inside of a value', `a=sessionid=${KEY}`, undefined],
    ['the first of two keys', `sessionid=${KEY}; sessionid=${OTHER}`, KEY],
    ['the first that could be a key', `sessionid=planted; sessionid=${OTHER}; sessionid=${KEY}`, OTHER],
    ['the first when none could be', 'sessionid=one; sessionid=two', 'one'],
  ])('%s', (_name, header, value) => {
    expect(readCookie(header, 'sessionid')).toBe(value);
  });

  it('finds names that mean something to objects', () => {
    expect(readCookie(`__proto__=${KEY}`, '__proto__')).toBe(KEY);
    expect(readCookie('a=1', 'constructor')).toBeUndefined();
    expect(readCookie('constructorr=1', 'constructor')).toBeUndefined();
  });
});
