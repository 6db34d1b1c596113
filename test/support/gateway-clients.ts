import { once } from 'node:events';
import { type INestApplicationContext, type WebSocketAdapter } from '@nestjs/common';
import { IoAdapter } from '@nestjs/platform-socket.io';
import { WsAdapter } from '@nestjs/platform-ws';
import { io } from 'socket.io-client';
import { WebSocket } from 'ws';

/** What the handlers of a spec answer: which message it is for. */
interface Answer {
  to: string;
  [key: string]: unknown;
}

interface Exception {
  status: string;
  message: string;
  code?: number;
  cause?: { pattern: string };
}

export interface Client {
  /** Resolves with the next answer to this message; rejects with the exception that is sent instead of one. */
  ask(event: string, data?: unknown): Promise<Answer>;
  /** Every answer so far. */
  answers: Answer[];
  /** Resolves with why the server has closed the socket. */
  closed: Promise<{ code: unknown; reason: unknown }>;
  isOpen(): boolean;
  close(): void;
}

/** The adapters of Nest for gateways, each with a client of its own kind. */
export const adapters: Record<
  string,
  {
    make(app: INestApplicationContext): WebSocketAdapter;
    connect(url: string, cookie?: string): Promise<Client>;
  }
> = {
  'socket.io': { make: (app) => new IoAdapter(app), connect: connectIo },
  ws: { make: (app) => new WsAdapter(app), connect: connectWs },
};

async function connectIo(url: string, cookie?: string): Promise<Client> {
  const socket = io(url, {
    reconnection: false,
    forceNew: true,
    ...(cookie !== undefined && { extraHeaders: { cookie } }),
  });
  await new Promise<void>((resolve, reject) => {
    socket.on('connect', resolve);
    socket.on('connect_error', reject);
  });
  const { receive, ask, answers } = inbox();
  let last: Exception | undefined;
  socket.on('exception', (exception: Exception) => receive({ event: 'exception', data: (last = exception) }));
  const closed = new Promise<{ code: unknown; reason: unknown }>((resolve) => {
    socket.on('disconnect', (reason) => {
      const byServer = reason === 'io server disconnect';
      resolve(byServer ? { code: last?.code, reason: last?.message } : { code: null, reason });
    });
  });
  return {
    ask: ask((event, data) => socket.emit(event, data, receive)),
    answers,
    closed,
    isOpen: () => socket.connected,
    close: () => socket.close(),
  };
}

async function connectWs(url: string, cookie?: string): Promise<Client> {
  const socket = new WebSocket(
    url.replace('http', 'ws'),
    cookie === undefined ? {} : { headers: { cookie } },
  );
  await once(socket, 'open');
  const { receive, ask, answers } = inbox();
  socket.on('message', (text: Buffer) => receive(JSON.parse(text.toString())));
  const closed = once(socket, 'close').then(([code, reason]) => ({
    code: code as unknown,
    reason: String(reason),
  }));
  return {
    ask: ask((event, data) => socket.send(JSON.stringify({ event, data }))),
    answers,
    closed,
    isOpen: () => socket.readyState === WebSocket.OPEN,
    close: () => socket.terminate(),
  };
}

/** Finds for each message the one who waits for it. */
function inbox() {
  const waiting = new Map<string, { resolve(answer: Answer): void; reject(exception: Exception): void }>();
  const answers: Answer[] = [];
  return {
    answers,
    receive: (message: Answer | { event: 'exception'; data: Exception }): void => {
      if ('to' in message) {
        answers.push(message);
        waiting.get(message.to)?.resolve(message);
      } else {
        const { data } = message as { data: Exception };
        waiting.get(data.cause?.pattern ?? '')?.reject(data);
      }
    },
    ask:
      (send: (event: string, data: unknown) => void) =>
      (event: string, data: unknown = {}): Promise<Answer> =>
        new Promise((resolve, reject) => {
          waiting.set(event, { resolve, reject });
          send(event, data);
        }),
  };
}
