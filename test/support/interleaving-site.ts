import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { Test } from '@nestjs/testing';
import { type JsonValue, type Session, SessionModule, type SessionStore } from 'nest-sessions';
import {
  createSessionMiddleware,
  type SessionMiddleware,
} from '../../libs/session/src/http/session-middleware.js';
import { HTTP_ENVIRONMENT } from '../../libs/session/src/session.tokens.js';
import { type HttpEnvironment } from '../../libs/session/src/http/request-session.js';
import { silent } from './app.js';

/** What a request came to. */
export interface Answer {
  status: number;
  /** What Set-Cookie says of the session: a new value, '' for a removal, undefined for nothing. */
  cookie: string | undefined;
  /** The id of the session that the request found, and of the one that it left; null: none. */
  found: string | null;
  left: string | null;
  /** The key of the one that it left. */
  key: string | null;
}

/** What a request sees that comes when all is over. */
export interface Seen {
  id: string;
  userId: string | null;
  data: Record<string, JsonValue>;
  expiresAt: number;
  createdAt: number;
}

type Handler = (session: Session) => void;

/** The way of a request to its session and back, without a server around it. */
export class Site {
  private constructor(
    readonly store: SessionStore,
    private readonly middleware: SessionMiddleware,
  ) {}

  static async over(store: SessionStore): Promise<Site> {
    const engine = { useFactory: () => store };
    const options = { clearExpired: false as const, storeTimeout: '1m', cookie: { secure: false } };
    const testing = await Test.createTestingModule({ imports: [SessionModule.forRoot(engine, options)] })
      .setLogger(silent)
      .compile();
    return new Site(store, createSessionMiddleware(testing.get<HttpEnvironment>(HTTP_ENVIRONMENT)));
  }

  /** @param loaded called between the handler's loading of the session and its work */
  async send(key: string | null, handler: Handler, loaded?: () => void): Promise<Answer> {
    const request = new IncomingMessage(new Socket()) as IncomingMessage & { session: Session };
    if (key !== null) request.headers.cookie = `sessionid=${key}`;
    const response = new Response(request);
    await new Promise<void>((resolve, reject) => {
      this.middleware(request, response, (error) => (error === undefined ? resolve() : reject(error)));
    });
    const { session } = request;
    await session.load();
    loaded?.();
    const found = idOf(session);
    handler(session);
    response.end();
    await response.ended;
    const [cookie] = [response.getHeader('set-cookie') ?? []].flat();
    return {
      status: response.statusCode,
      cookie: cookie === undefined ? undefined : /^sessionid=([^;]*)/.exec(String(cookie))?.[1],
      found,
      left: idOf(session),
      key: session.sessionKey(),
    };
  }

  /** The session that this key opens; undefined: none. */
  async look(key: string): Promise<Seen | undefined> {
    let seen: Seen | undefined;
    await this.send(key, (session) => {
      const { id, userId, expiresAt, createdAt } = session;
      if (expiresAt === null || createdAt === null) return;
      seen = { id, userId, data: session.toJSON(), expiresAt: +expiresAt, createdAt: +createdAt };
    });
    return seen;
  }
}

/** Null without a record. */
function idOf(session: Session): string | null {
  return session.createdAt === null ? null : session.id;
}

/** Ends when the last byte has been handed over, wherever that would go. */
class Response extends ServerResponse {
  #announce!: () => void;
  readonly ended = new Promise<void>((resolve) => (this.#announce = resolve));

  override end(): this {
    this.#announce();
    return this;
  }
}
