import { jest } from '@jest/globals';
import { ANSWERS_WITHIN, type Command, SharedWait, slotOf } from './redis-connection.js';

const wait = { replicas: 2, timeout: 300 };
const WAIT: Command = ['wait', '2', '300'];

/** A server that answers when it is told to: each command with its own name, WAIT with the number of replicas. */
class HeldServer {
  readonly batches: Command[][] = [];
  private readonly answers: (() => void)[] = [];
  failing: string | undefined;

  readonly send = async (_server: string, commands: Command[]): Promise<PromiseSettledResult<unknown>[]> => {
    this.batches.push(commands);
    await new Promise<void>((resolve) => this.answers.push(resolve));
    return Promise.allSettled(
      commands.map(([name]) =>
        name === this.failing
          ? Promise.reject(new Error(`${name} failed`))
          : Promise.resolve(name === 'wait' ? 1 : `${name} done`),
      ),
    );
  };

  async answer(): Promise<void> {
    this.answers.shift()?.();
    await settle();
  }
}

async function settle(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

describe('SharedWait', () => {
  afterEach(() => void jest.useRealTimers());

  it('sends what comes while one waits together after it, with one WAIT for all', async () => {
    const server = new HeldServer();
    const shared = new SharedWait(server.send);
    const outcomes = ['a', 'b', 'c'].map((name) => shared.run('one', [name], wait));
    await settle();
    expect(server.batches).toEqual([[['a'], WAIT]]);
    await server.answer();
    expect(server.batches).toEqual([
      [['a'], WAIT],
      [['b'], ['c'], WAIT],
    ]);
    await server.answer();
    expect(await Promise.all(outcomes)).toEqual([
      ['a done', 1],
      ['b done', 1],
      ['c done', 1],
    ]);

    const later = shared.run('one', ['d'], wait);
    await settle();
    await server.answer();
    expect(await later).toEqual(['d done', 1]);
  });

  it('lets no server wait for another', async () => {
    const server = new HeldServer();
    const shared = new SharedWait(server.send);
    const outcomes = [shared.run('one', ['a'], wait), shared.run('other', ['b'], wait)];
    await settle();
    expect(server.batches).toHaveLength(2);
    await server.answer();
    await server.answer();
    await Promise.all(outcomes);
  });

  it('tells each what became of it, and nobody of a success that WAIT has not seen', async () => {
    const server = new HeldServer();
    const shared = new SharedWait(server.send);
    const first = shared.run('one', ['a'], wait);
    const [b, c] = [shared.run('one', ['b'], wait), shared.run('one', ['c'], wait)];
    const all = Promise.allSettled([b, c]);
    await settle();
    await server.answer();
    await first;
    server.failing = 'b';
    await server.answer();
    expect(await all).toMatchObject([
      { reason: { message: 'b failed' } },
      { status: 'fulfilled', value: ['c done', 1] },
    ]);

    server.failing = 'wait';
    const unseen = Promise.allSettled([shared.run('one', ['d'], wait)]);
    await settle();
    await server.answer();
    expect(await unseen).toMatchObject([{ reason: { message: 'wait failed' } }]);
  });

  it('goes on after a connection that broke', async () => {
    const send = jest
      .fn<(server: string, commands: Command[]) => Promise<PromiseSettledResult<unknown>[]>>()
      .mockRejectedValueOnce(new Error('broken'))
      .mockImplementation(new HeldServer().send);
    const shared = new SharedWait(send);
    await expect(shared.run('one', ['a'], wait)).rejects.toThrow('broken');
    void shared.run('one', ['b'], wait);
    await settle();
    expect(send).toHaveBeenCalledTimes(2);
  });

  it('does not send what nobody waits for any more', async () => {
    jest.useFakeTimers({ doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask'] });
    const server = new HeldServer();
    const shared = new SharedWait(server.send);
    const first = shared.run('one', ['a'], wait);
    const late = Promise.allSettled([shared.run('one', ['b'], wait)]);
    await settle();
    jest.advanceTimersByTime(ANSWERS_WITHIN + 1);
    await server.answer();
    await first;
    expect(await late).toMatchObject([{ reason: { message: expect.stringContaining('not sent') } }]);
    expect(server.batches).toEqual([[['a'], WAIT]]);
  });
});

describe('slotOf', () => {
  // The first is the check value of the specification; the others are what `CLUSTER KEYSLOT` says.
  it.each([
    ['123456789', 12739],
    ['', 0],
    ['foo', 12182],
    ['session:größe', 13421],
  ])('of %j is %d', (key, slot) => {
    expect(slotOf(key)).toBe(slot);
  });
});
