import { failureMessage } from './failure-message.js';

describe('failureMessage', () => {
  it.each([
    ['a plain error', new Error('it broke'), 'it broke'],
    ['several lines', new Error('it\n  broke'), 'it broke'],
    ['something that is no error', 'oops', 'oops'],
    ['undefined', undefined, 'undefined'],
    ['an error without a message', Object.assign(new Error(), { code: 'ECONNRESET' }), 'ECONNRESET'],
    ['nothing but a name', new TypeError(), 'TypeError'],
    [
      'a refused connection',
      new AggregateError([new Error('connect ECONNREFUSED ::1:5432'), new Error('connect ECONNREFUSED')]),
      'connect ECONNREFUSED ::1:5432',
    ],
    [
      'a URL with credentials',
      new Error('cannot reach postgres://shop:hunter2@db:5432/shop'),
      'cannot reach postgres://***@db:5432/shop',
    ],
    ['a password with @ and /', new Error('mysql://u:p@ss/word@db failed'), 'mysql://***@db failed'],
  ])('%s', (_, error, message) => {
    expect(failureMessage(error)).toBe(message);
  });
});
