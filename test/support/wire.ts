import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { type IncomingHttpHeaders, request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { type Server, type Socket } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { type RunningApp } from './app.js';

export interface Answer {
  status: number;
  statusMessage: string;
  headers: IncomingHttpHeaders;
  /** As they came, in their order and letter case. */
  headerLines: [name: string, value: string][];
  body: Buffer;
}

export interface Exchange {
  answer: Promise<Answer>;
  /** Has the head of the response arrived? */
  arrived: () => boolean;
  /** 1xx responses so far. */
  hints: number[];
  abort(): void;
}

export interface ExchangeOptions {
  method?: string;
  headers?: Record<string, string>;
  body?: string;
}

/** One request on a connection of its own, seen as closely to the wire as Node lets us. */
export function exchange(
  url: string,
  { method = 'GET', headers = {}, body }: ExchangeOptions = {},
): Exchange {
  let arrived = false;
  const hints: number[] = [];
  const options = { method, headers, agent: false } as const;
  const client = url.startsWith('https:')
    ? httpsRequest(url, { ...options, rejectUnauthorized: false })
    : httpRequest(url, options);
  const answer = new Promise<Answer>((resolve, reject) => {
    client.on('information', ({ statusCode }) => hints.push(statusCode));
    client.on('error', reject);
    client.on('response', (response) => {
      arrived = true;
      buffer(response).then(
        (content) =>
          resolve({
            status: response.statusCode ?? 0,
            statusMessage: response.statusMessage ?? '',
            headers: response.headers,
            headerLines: response.rawHeaders.flatMap((name, index): [string, string][] =>
              index % 2 === 0 ? [[name, response.rawHeaders[index + 1] ?? '']] : [],
            ),
            body: content,
          }),
        reject,
      );
    });
  });
  // A spec that aborts the request need not look at the answer.
  answer.catch(() => {});
  client.end(body);
  return { answer, arrived: () => arrived, hints, abort: () => client.destroy() };
}

/** The server's side of its connections, in the order in which they came. */
export function connectionsOf({ app }: RunningApp): Socket[] {
  const sockets: Socket[] = [];
  (app.getHttpServer() as Server).on('connection', (socket: Socket) => sockets.push(socket));
  return sockets;
}

/** `name=value` of the session cookie in an answer, for the next request's Cookie header. */
export function sessionCookie({ headers }: { headers: IncomingHttpHeaders }): string | undefined {
  return headers['set-cookie']?.find((line) => line.startsWith('sessionid='))?.split(';')[0];
}

/** Everything but what this library adds and what changes by itself. */
export function comparable({ status, statusMessage, headerLines, body }: Answer) {
  const ours = /^(vary|cache-control|date)$/i;
  return {
    status,
    statusMessage,
    headers: headerLines
      .filter(([name, value]) => !ours.test(name) && !value.startsWith('sessionid='))
      .map(([name, value]) => `${name.toLowerCase()}: ${value}`)
      .toSorted(),
    body: body.length > 10_000 ? createHash('sha256').update(body).digest('hex') : body.toString(),
  };
}

/** Resolves when the server has noticed that the client is gone. */
export async function leave(going: Exchange, socket: Socket | undefined): Promise<void> {
  const closed = once(socket as Socket, 'close');
  going.abort();
  await closed;
}
