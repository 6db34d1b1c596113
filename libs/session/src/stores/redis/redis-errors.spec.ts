import { inspect } from 'node:util';
import { toStoreError } from './redis-errors.js';

const codeOf = (message: string): unknown =>
  (toStoreError('save', new Error(message)) as { code?: unknown }).code;

describe('toStoreError', () => {
  it.each([
    "READONLY You can't write against a read only replica.",
    'LOADING Redis is loading the dataset in memory',
    'OOM command not allowed when used memory > maxmemory. script: abc, on @user_script:3.',
    'MISCONF Redis is configured to save RDB snapshots',
    'CLUSTERDOWN The cluster is down',
    'MASTERDOWN Link with MASTER is down',
    'MOVED 4639 127.0.0.1:35309',
    'TRYAGAIN Multiple keys request during rehashing of slot',
    'BUSY Redis is busy running a script.',
    'NOAUTH Authentication required.',
    'ERR max number of clients reached',
    'ERR Error running script (call to f_1): @user_script:9: @user_script: 9: -OOM command not allowed',
    'Connection is closed.',
    'connect ECONNREFUSED 127.0.0.1:6379',
    'Command timed out',
    '',
  ])('says of %j that the store is unavailable', (message) => {
    expect(codeOf(message)).toBe('SESSION_STORE_UNAVAILABLE');
  });

  it.each([
    'WRONGTYPE Operation against a key holding the wrong kind of value',
    'ERR Error running script (call to f_1): @user_script:3: @user_script: 3: -WRONGTYPE Operation against a key',
  ])('says of %j that the record is corrupt', (message) => {
    expect(codeOf(message)).toBe('SESSION_RECORD_CORRUPT');
  });

  it.each(["ERR unknown command 'evalsha'", "CROSSSLOT Keys in request don't hash to the same slot"])(
    'passes %j on',
    (message) => {
      expect(toStoreError('save', new Error(message)).message).toBe(message);
    },
  );

  it('keeps to itself what the clients hang on their errors', () => {
    for (const message of ['OOM', "ERR unknown command 'evalsha'"]) {
      const error = Object.assign(new Error(message), { command: { name: 'evalsha', args: ['the-key'] } });
      expect(inspect(toStoreError('save', error), { depth: 9, showHidden: true })).not.toContain('the-key');
    }
  });

  it('finds a word for an error without a message', () => {
    const refused = Object.assign(new AggregateError([], ''), { code: 'ECONNREFUSED' });
    expect(toStoreError('load', refused).message).toContain('ECONNREFUSED');
  });
});
