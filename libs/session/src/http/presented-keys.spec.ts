import { resolveOptions } from '../options/resolve-options.js';
import { presentedKeys, type RequestOrHeaders } from './presented-keys.js';

const cookie = 'a=1; sessionid=one; sessionid=two';

it('a header for session keys counts, where there is one', () => {
  const options = resolveOptions({ transport: ['cookie', { header: 'authorization' }] });
  for (const headers of [
    { cookie, Authorization: 'Bearer three' },
    new Headers({ cookie, authorization: 'Bearer three' }),
  ])
    expect(presentedKeys(headers, options)).toEqual(['three']);
  expect(presentedKeys({ cookie }, options)).toEqual(['one', 'two']);
});

describe('the session keys of', () => {
  it.each<[string, RequestOrHeaders, string[]]>([
    ['a request', { headers: { cookie } }, ['one', 'two']],
    ['a request of the web', new Request('http://localhost', { headers: { cookie } }), ['one', 'two']],
    ['header fields', { cookie }, ['one', 'two']],
    ['header fields in capitals', { Cookie: cookie }, ['one', 'two']],
    ['a repeated header field', { cookie: ['sessionid=one', 'sessionid=two'] }, ['one', 'two']],
    ['Headers', new Headers({ Cookie: cookie }), ['one', 'two']],
    ['header fields, one of which is called "headers"', { headers: 'x', cookie }, ['one', 'two']],
    ['a request without cookies', { headers: { host: 'localhost' } }, []],
    ['no headers', {}, []],
    ['Headers without cookies', new Headers(), []],
    ['another cookie only', { cookie: 'session=one' }, []],
  ])('%s', (_what, request, keys) => {
    expect(presentedKeys(request, resolveOptions())).toEqual(keys);
  });

  it.each([undefined, null, 'sessionid=one', 5, { send() {} }, { headers: { cookie: 5 } }])(
    '%p: an error that says what to hand over',
    (request) => {
      expect(() => presentedKeys(request as never, resolveOptions())).toThrow(
        expect.objectContaining({
          code: 'SESSION_NOT_LOADED',
          message: expect.stringContaining('socket.request') as unknown,
        }),
      );
    },
  );
});
