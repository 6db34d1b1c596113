import { jest } from '@jest/globals';
import { SessionStoreUnavailableError } from '../../session.errors.js';
import { Batches, type Sender } from './batches.js';

interface SentBatch {
  items: readonly string[];
  answer: () => void;
  fail: (error: Error) => void;
}

/** Its batches come back when the test says so, in any order; an item is answered in capitals, or with undefined. */
class FakeSender implements Sender<string, string | undefined> {
  readonly sent: SentBatch[] = [];

  get items(): (readonly string[])[] {
    return this.sent.map(({ items }) => items);
  }

  one(item: string): Promise<string | undefined> {
    return new Promise((resolve, reject) => {
      this.sent.push({ items: [item], answer: () => resolve(answerTo(item)), fail: reject });
    });
  }

  together(items: readonly string[]): Promise<ReadonlyMap<string, string | undefined>> {
    return new Promise((resolve, reject) => {
      const answered = items.filter((item) => item !== 'left out');
      const answers = new Map(answered.map((item) => [item, answerTo(item)]));
      this.sent.push({ items, answer: () => resolve(answers), fail: reject });
    });
  }

  async answer(...batches: number[]): Promise<void> {
    for (const batch of batches) this.sent[batch]?.answer();
    await settled();
  }

  async fail(batch: number, error: Error): Promise<void> {
    this.sent[batch]?.fail(error);
    await settled();
  }
}

const answerTo = (item: string): string | undefined => (item === 'absent' ? undefined : item.toUpperCase());

/** As of a database that was sent a text it cannot take. */
const refusal = (message: string): Error => Object.assign(new Error(message), { code: '22021' });

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

interface Started {
  sender: FakeSender;
  batches: Batches<string, string | undefined>;
  answers: Promise<string | undefined>[];
}

/** All at once, so that the first two are sent. */
function start(...items: string[]): Started {
  const sender = new FakeSender();
  const batches = new Batches(sender);
  return { sender, batches, answers: items.map((item) => batches.add(item)) };
}

/** The row of an item is its first letter. */
function startRows(...items: string[]): Started {
  const sender = Object.assign(new FakeSender(), { rowOf: (item: string) => item.charAt(0) });
  const batches = new Batches(sender);
  return { sender, batches, answers: items.map((item) => batches.add(item)) };
}

describe('Batches', () => {
  it('sends at once while fewer than two are under way', async () => {
    const { sender, batches, answers } = start('a', 'b');
    expect(sender.items).toEqual([['a'], ['b']]);
    await sender.answer(1);
    expect(await answers[1]).toBe('B');
    void batches.add('c');
    expect(sender.items).toEqual([['a'], ['b'], ['c']]);
  });

  it('collects the others until one comes back', async () => {
    const { sender, answers } = start('a', 'b', 'c', 'absent', 'd', 'c');
    expect(sender.items).toEqual([['a'], ['b']]);
    await sender.answer(1);
    expect(sender.items.slice(2)).toEqual([['c', 'absent', 'd', 'c']]);
    await sender.answer(0, 2);
    expect(await Promise.all(answers)).toEqual(['A', 'B', 'C', undefined, 'D', 'C']);
  });

  it('sends the next batch before it hands out the answers of the last', async () => {
    const { sender, answers } = start('a', 'b', 'c');
    const sentBefore = answers[0]?.then(() => sender.sent.length);
    await sender.answer(0);
    expect(await sentBefore).toBe(3);
  });

  it('joins no batch that has been sent', async () => {
    const { sender } = start('a', 'b', 'a', 'c');
    await sender.answer(0);
    expect(sender.items).toEqual([['a'], ['b'], ['a', 'c']]);
  });

  it('sends no more than 128 at once', async () => {
    const many = Array.from({ length: 300 }, (_, index) => `item${index}`);
    const { sender, answers } = start(...many);
    for (let batch = 0; batch < sender.sent.length; batch++) await sender.answer(batch);
    expect(sender.items.map(({ length }) => length)).toEqual([1, 1, 128, 128, 42]);
    expect(await Promise.all(answers)).toEqual(many.map((item) => item.toUpperCase()));
  });

  it('sends what was left without an answer on its own', async () => {
    const { sender, answers } = start('a', 'b', 'c', 'left out');
    await sender.answer(0);
    await sender.answer(2);
    expect(sender.items.slice(3)).toEqual([['left out']]);
    await sender.answer(1, 3);
    expect(await Promise.all(answers)).toEqual(['A', 'B', 'C', 'LEFT OUT']);
  });

  it('resends a batch that failed one by one, so that only the guilty fails', async () => {
    const { sender, answers } = start('a', 'b', 'c', 'guilty', 'absent');
    const outcomes = Promise.allSettled(answers);
    await sender.answer(0);
    await sender.fail(2, refusal('of the batch'));
    expect(sender.items.slice(3)).toEqual([['c'], ['guilty'], ['absent']]);
    await sender.fail(4, refusal('of its own'));
    await sender.answer(1, 3, 5);
    expect(await outcomes).toEqual([
      { status: 'fulfilled', value: 'A' },
      { status: 'fulfilled', value: 'B' },
      { status: 'fulfilled', value: 'C' },
      { status: 'rejected', reason: refusal('of its own') },
      { status: 'fulfilled', value: undefined },
    ]);
  });

  it.each([
    new SessionStoreUnavailableError('load', 'it is down.'),
    new Error('Nobody knows what became of it.'),
  ])('fails all of a batch that may have been carried out, and goes on: %s', async (error) => {
    const { sender, batches, answers } = start('a', 'b', 'c', 'd');
    const outcomes = Promise.allSettled(answers.slice(2));
    await sender.answer(0);
    await sender.fail(2, error);
    expect(await outcomes).toEqual([
      { status: 'rejected', reason: error },
      { status: 'rejected', reason: error },
    ]);
    const later = batches.add('e');
    expect(sender.items.slice(3)).toEqual([['e']]);
    await sender.answer(3);
    expect(await later).toBe('E');
  });

  it('waits for a batch that hangs a fifth of a second and no longer, and counts it once', async () => {
    jest.useFakeTimers({ doNotFake: ['setImmediate'] });
    try {
      const { sender, batches } = start('a', 'b', 'c');
      jest.advanceTimersByTime(199);
      expect(sender.items).toHaveLength(2);
      jest.advanceTimersByTime(1);
      expect(sender.items.slice(2)).toEqual([['c']]);
      void batches.add('d'); // in the place of the other that hangs
      expect(sender.items.slice(3)).toEqual([['d']]);
      await sender.answer(0, 1);
      void batches.add('e');
      expect(sender.items).toHaveLength(4);
      await sender.answer(2);
      expect(sender.items.slice(4)).toEqual([['e']]);
    } finally {
      jest.useRealTimers();
    }
  });

  describe('with rows', () => {
    it('sends those of a row one after the other, and lets those of other rows go ahead', async () => {
      const { sender, answers } = startRows('a1', 'a2', 'b1', 'c1', 'a3', 'b2');
      expect(sender.items).toEqual([['a1'], ['b1']]);
      await sender.answer(0);
      expect(sender.items.slice(2)).toEqual([['c1', 'a2']]);
      await sender.answer(1);
      expect(sender.items.slice(3)).toEqual([['b2']]);
      await sender.answer(2);
      expect(sender.items.slice(4)).toEqual([['a3']]);
      await sender.answer(3, 4);
      expect(await Promise.all(answers)).toEqual(['A1', 'A2', 'B1', 'C1', 'A3', 'B2']);
    });

    it('goes on with a row after a failure, and after a fifth of a second without an answer', async () => {
      jest.useFakeTimers({ doNotFake: ['setImmediate'] });
      try {
        const { sender, batches, answers } = startRows('a1', 'a2', 'a3');
        const outcomes = Promise.allSettled(answers);
        await sender.fail(0, new Error('lost'));
        expect(sender.items).toEqual([['a1'], ['a2']]);
        jest.advanceTimersByTime(200);
        expect(sender.items.slice(2)).toEqual([['a3']]);
        await sender.answer(1, 2);
        expect((await outcomes).map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'fulfilled']);
        void batches.add('a4');
        expect(sender.items.slice(3)).toEqual([['a4']]);
      } finally {
        jest.useRealTimers();
      }
    });
  });
});
