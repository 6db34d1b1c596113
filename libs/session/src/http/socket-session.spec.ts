import { type IncomingMessage } from 'node:http';
import { jest } from '@jest/globals';
import { resolveOptions } from '../options/resolve-options.js';
import { type SessionEnvironment } from '../session/session-environment.js';
import { newRecord } from '../testing/store-bench.js';
import { type HttpEnvironment } from './request-session.js';
import { SocketSession } from './socket-session.js';

const STALENESS = 1000;

afterEach(() => {
  jest.useRealTimers();
  jest.restoreAllMocks();
});

it('asks for no message in between, and after a pause, in which it keeps no data, for the first one', async () => {
  jest.useFakeTimers();
  jest.spyOn(Math, 'random').mockReturnValue(0.5);
  const record = newRecord();
  let looks = 0;
  const sessions = {
    ...resolveOptions(),
    tokens: {
      isToken: () => true,
      isOwn: () => true,
      load: async () => ({ standing: 'live', token: 'token', record }),
      watch: () => async () => {
        looks += 1;
        return record;
      },
    },
    replacedTokens: { find: () => undefined },
    now: () => Date.now(),
    emit: () => {},
  } as unknown as SessionEnvironment;
  const options = resolveOptions({ sockets: { staleness: STALENESS / 1000 } });
  const environment = { options, sessions } as unknown as HttpEnvironment;
  const handshake = { headers: { cookie: 'sessionid=token' } } as IncomingMessage;
  const socket = new SocketSession(environment, handshake);
  const nextLook = async (): Promise<number> => {
    await jest.advanceTimersByTimeAsync(0.75 * STALENESS);
    return looks;
  };

  const watch = socket.ended.subscribe();
  await socket.open();
  expect(await nextLook()).toBe(2);
  await socket.open();
  expect(looks).toBe(2);
  expect(await nextLook()).toBe(3);
  await socket.open();
  expect(looks).toBe(3);
  expect([await nextLook(), await nextLook()]).toEqual([4, 5]);
  await socket.open();
  await socket.open();
  expect(looks).toBe(6);
  watch.unsubscribe();
});
