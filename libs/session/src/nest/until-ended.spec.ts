import { Subject } from 'rxjs';
import { untilEnded } from './until-ended.js';

type Events = AsyncGenerator<number>;

/** Gives one event, and then waits for ever, even when it is told to return. */
async function* slow(): Events {
  yield 1;
  await new Promise(() => {});
}

async function* short(): Events {
  yield 1;
}

async function* broken(): Events {
  yield 1;
  throw new Error('broken');
}

describe('untilEnded', () => {
  it('gives the events until the session ends, though the next one is being waited for', async () => {
    const ended = new Subject<void>();
    const events = untilEnded(slow(), ended) as Events;
    expect(await events.next()).toEqual({ done: false, value: 1 });
    const next = events.next();
    ended.next();
    expect(await next).toEqual({ done: true, value: undefined });
    expect(await events.next()).toEqual({ done: true, value: undefined });
  });

  it.each<[string, (events: Events) => Promise<unknown>]>([
    ['the source is done', (events) => events.next()],
    ['the source fails', (events) => events.next()],
    ['the client leaves', (events) => events.return(undefined)],
    ['the server throws', (events) => events.throw(new Error('thrown'))],
  ])('does not watch the session any more when %s', async (how, finish) => {
    const ended = new Subject<void>();
    const events = untilEnded(how === 'the source fails' ? broken() : short(), ended) as Events;
    await events.next();
    expect(ended.observed).toBe(true);
    await finish(events).catch(() => {});
    expect(ended.observed).toBe(false);
  });

  it.each([undefined, null, 5, 'text', [1], { next() {} }])('leaves %p as it is', (answer) => {
    const ended = new Subject<void>();
    expect(untilEnded(answer, ended)).toBe(answer);
    expect(ended.observed).toBe(false);
  });
});
