import { inspect } from 'node:util';
import { jest } from '@jest/globals';
import { RedisCommands, ServerClock, toStoreError } from './redis-commands.js';
import { type RedisConnection } from './redis-connection.js';

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

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('ServerClock', () => {
  const MINUTE = 60_000;
  let [steady, wall] = [1000, 5_000_000];
  let answers: (() => Promise<number>)[] = [];
  let keys: string[] = [];

  const connection = {
    cluster: false,
    ready: () => true,
    run: (_script: unknown, [key]: [string]) => {
      keys.push(key);
      return (answers.shift() ?? (() => Promise.reject(new Error('Nothing to answer'))))();
    },
  } as unknown as RedisConnection;
  const newClock = (): ServerClock => new ServerClock(new RedisCommands(connection, undefined), 'p:');
  const later = (ms: number): void => {
    steady += ms;
    wall += ms;
  };

  beforeEach(() => {
    [steady, wall, answers, keys] = [1000, 5_000_000, [], []];
    jest.spyOn(performance, 'now').mockImplementation(() => steady);
    jest.spyOn(Date, 'now').mockImplementation(() => wall);
  });
  afterEach(() => jest.restoreAllMocks());

  it('follows the clock of the server between two readings', async () => {
    const clock = newClock();
    answers = [() => Promise.resolve(1_000_000)];
    await clock.ready('load');
    later(MINUTE - 1);
    expect(clock.ready('load')).toBeUndefined();
    expect(clock.now()).toBe(1_000_000 + MINUTE - 1);
    expect(clock.offset).toBe(1_000_000 - 5_000_000);
  });

  it('is read again after a minute, without letting anybody wait or fail', async () => {
    const clock = newClock();
    answers = [
      () => Promise.resolve(1_000_000),
      () => Promise.reject(new Error('down')),
      () => Promise.resolve(1_062_007),
    ];
    await clock.ready('load');
    later(MINUTE + 1);
    expect(clock.ready('load')).toBeUndefined();
    await settle();
    later(999);
    expect(clock.ready('load')).toBeUndefined();
    await settle();
    expect(clock.now()).toBe(1_062_007);
    // Another server of a cluster is asked after one that did not answer.
    expect(keys).toEqual(['p:clock:0', 'p:clock:0', 'p:clock:1']);
  });

  it.each([
    ['was set', (): void => void (wall += 3 * MINUTE)],
    ['went on while the machine slept', (): void => void (wall += 5000)],
    ['was set back', (): void => void (wall -= 1000)],
  ])('is read before anything else when the clock of this machine %s', async (_how, jump) => {
    const clock = newClock();
    answers = [() => Promise.resolve(1_000_000), () => Promise.resolve(2_000_000)];
    await clock.ready('load');
    jump();
    await clock.ready('load');
    expect(clock.now()).toBe(2_000_000);
    expect(clock.offset).toBe(2_000_000 - wall);
  });

  it('was read half way between question and answer, and soon again if that took long', async () => {
    const clock = newClock();
    answers = [
      () => {
        later(400);
        return Promise.resolve(1_000_000);
      },
      () => Promise.resolve(1_001_150),
    ];
    await clock.ready('load');
    expect(clock.now()).toBe(1_000_200);
    later(1001);
    void clock.ready('load');
    await settle();
    expect(clock.now()).toBe(1_001_150);
  });

  it('fails with the operation while it was never read', async () => {
    answers = [() => Promise.reject(new Error('down'))];
    await expect(newClock().ready('save')).rejects.toMatchObject({ code: 'SESSION_STORE_UNAVAILABLE' });
  });
});
