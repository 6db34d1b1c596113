import { setTimeout as sleep } from 'node:timers/promises';
import { jest } from '@jest/globals';
import { SessionConfigError } from '../session.errors.js';
import { SessionStore } from '../stores/session-store.js';
import { clearExpired, failureMessage } from './clear-expired.js';

/** A store that holds nothing but a number of expired records. */
class ExpiredStore extends SessionStore {
  readonly batches: number[] = [];

  constructor(
    public expired: number,
    private readonly duringBatch: () => Promise<void> | void = () => undefined,
  ) {
    super();
  }

  override async clearExpired(batchSize: number): Promise<number> {
    this.batches.push(batchSize);
    const cleared = Math.min(batchSize, this.expired);
    this.expired -= cleared;
    await this.duringBatch();
    return cleared;
  }

  load = () => Promise.resolve(null);
  create = () => Promise.resolve(true);
  save = () => Promise.resolve(true);
  delete = () => Promise.resolve(true);
}

describe('clearExpired', () => {
  it('clears batch after batch until one is short', async () => {
    const store = new ExpiredStore(25);
    await expect(clearExpired(store, { batchSize: 10 })).resolves.toBe(25);
    expect(store.batches).toEqual([10, 10, 10]);
    expect(store.expired).toBe(0);
  });

  it('needs one more, empty batch when the last one was full', async () => {
    const store = new ExpiredStore(20);
    await expect(clearExpired(store, { batchSize: 10 })).resolves.toBe(20);
    expect(store.batches).toEqual([10, 10, 10]);
  });

  it('takes 1000 records at a time unless told otherwise', async () => {
    const store = new ExpiredStore(0);
    await clearExpired(store);
    expect(store.batches).toEqual([1000]);
  });

  it('stops exactly at the limit', async () => {
    const store = new ExpiredStore(100);
    await expect(clearExpired(store, { batchSize: 10, limit: 25 })).resolves.toBe(25);
    expect(store.batches).toEqual([10, 10, 5]);
  });

  it('asks for nothing when the limit is 0', async () => {
    const store = new ExpiredStore(100);
    await expect(clearExpired(store, { limit: 0 })).resolves.toBe(0);
    expect(store.batches).toEqual([]);
  });

  it('tells the total after every batch', async () => {
    const totals: number[] = [];
    await clearExpired(new ExpiredStore(25), { batchSize: 10, onProgress: (total) => totals.push(total) });
    expect(totals).toEqual([10, 20, 25]);
  });

  it('pauses as long as the batch took', async () => {
    const starts: number[] = [];
    const store = new ExpiredStore(20, async () => {
      starts.push(performance.now());
      await sleep(40);
    });
    await clearExpired(store, { batchSize: 10, limit: 20 });
    expect((starts[1] ?? 0) - (starts[0] ?? 0)).toBeGreaterThanOrEqual(75);
  });

  it.each([
    ['batchSize', 0],
    ['batchSize', 1.5],
    ['batchSize', Number.NaN],
    ['limit', -1],
    ['limit', Number.NaN],
  ])('refuses %s %s', async (option, value) => {
    const store = new ExpiredStore(1);
    const refused = clearExpired(store, { [option]: value });
    await expect(refused).rejects.toBeInstanceOf(SessionConfigError);
    await expect(refused).rejects.toMatchObject({ option });
    expect(store.batches).toEqual([]);
  });

  it('passes a failure of the store on', async () => {
    const failure = new Error('the store is down');
    const store = new ExpiredStore(5, () => {
      throw failure;
    });
    await expect(clearExpired(store)).rejects.toBe(failure);
  });

  describe('when aborted', () => {
    it('before the start: rejects with the reason and leaves the store alone', async () => {
      const store = new ExpiredStore(10);
      const reason = new Error('not now');
      await expect(clearExpired(store, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
      expect(store.batches).toEqual([]);
    });

    it('during a batch: finishes it, tells the total, rejects with the reason', async () => {
      const stop = new AbortController();
      const reason = new Error('enough');
      const totals: number[] = [];
      const store = new ExpiredStore(100, () => stop.abort(reason));
      const sweep = clearExpired(store, {
        batchSize: 10,
        signal: stop.signal,
        onProgress: (total) => totals.push(total),
      });
      await expect(sweep).rejects.toBe(reason);
      expect(totals).toEqual([10]);
      expect(store.expired).toBe(90);
    });

    it('during a pause: does not sit it out', async () => {
      const stop = new AbortController();
      const batchTakes = jest.spyOn(performance, 'now').mockReturnValueOnce(0).mockReturnValueOnce(3_600_000);
      const store = new ExpiredStore(100);
      const sweep = clearExpired(store, {
        batchSize: 10,
        signal: stop.signal,
        onProgress: () => setImmediate(() => stop.abort('enough')),
      });
      await expect(sweep).rejects.toBe('enough');
      batchTakes.mockRestore();
      expect(store.batches).toHaveLength(1);
    });

    it('after the last batch: resolves', async () => {
      const stop = new AbortController();
      const store = new ExpiredStore(5, () => stop.abort());
      await expect(clearExpired(store, { batchSize: 10, signal: stop.signal })).resolves.toBe(5);
    });
  });
});

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
