import { ServerResponse } from 'node:http';
import { Http2ServerResponse } from 'node:http2';

/** The four calls that start a response. Everything else (1xx, trailers, destroy) passes. */
const STARTERS = ['writeHead', 'write', 'end', 'flushHeaders'] as const;
const HEADER_SETTERS = ['setHeader', 'appendHeader', 'removeHeader'] as const;

type Starter = (typeof STARTERS)[number];
type Call = [name: Starter, given: unknown[]];
type AnyMethod = (...given: unknown[]) => unknown;
type Setters = Readonly<Record<(typeof HEADER_SETTERS)[number], AnyMethod>>;

export interface GateHooks {
  /**
   * Called once, at the first call that would start the response, with the status it is about to have. When it returns
   * a promise, the response is held back until that settles; otherwise the call goes straight through.
   */
  commit(statusCode: number): void | Promise<void>;
  /** Called after a commit that went well, at the last moment at which headers can be set. */
  setHeaders(statusCode: number): void;
  /**
   * Called instead of everything that was held back, when one of the above fails. Nothing has been sent then.
   * @param end the response's own `end`, below whatever was put on top of the gate
   */
  onFailure(error: unknown, end: (body: string) => void): void;
}

/**
 * Holds back a response until the session is committed.
 *
 * It sits on the raw response, below Nest, Express and Fastify, because only there all roads meet: `@Res()`, streams,
 * server-sent events, redirects by middleware. While it waits, the response looks as if it had been sent
 * (`headersSent`), because the frameworks decide by that whether to answer again. Calls made while it waits are replayed
 * through the methods found at installation, never through `response.write`: whatever was put on top since (such as
 * `compression`) has seen the calls already.
 *
 * It also takes what only stands in for a response, as engine.io makes them for upgrades: any method may be missing, or
 * be called in its own way. Such calls are passed on as they came, and what cannot be told to a stand-in is not told.
 */
export function installResponseGate(response: ServerResponse, hooks: GateHooks): void {
  const gated = response as GatedResponse;
  const gate = new ResponseGate(gated, hooks);
  if (gate.isNative && gated[GATE] === undefined) {
    gated[GATE] = gate;
    if (!gate.hasPlace) Object.assign(gated, gatedMethods);
    // Where others have put methods of theirs on the place, or taken ours off, the gate has to be on top of theirs.
    if (!gate.hasPlace || gate.placeIsFree) {
      gated[IN_PLACE] = gate;
      return;
    }
  }
  for (const name of STARTERS) {
    if (typeof response[name] !== 'function') continue;
    // Not an assignment, which throws where the object is frozen.
    Reflect.set(response, name, (...given: unknown[]) => gate.call(name, given));
  }
}

/**
 * Makes place for a gate on a response that has just come from Node. Express gives it another prototype, after which V8
 * makes a new shape of it for every property: ten of them cost more than all the rest of a session. Before that, all
 * responses share their shapes.
 */
export function makePlaceForGate(response: ServerResponse): void {
  // Below what somebody else has put on it already, the place would be the wrong one.
  if (STARTERS.some((name) => Object.hasOwn(response, name))) return;
  Object.assign(response, gatedMethods, { [GATE]: undefined, [IN_PLACE]: undefined });
  putDisguiseOn(response);
}

/** The gate of a response. */
const GATE = Symbol('nest-sessions:response-gate');
/** The same gate, where the methods that are shared by all responses lead to it. */
const IN_PLACE = Symbol('nest-sessions:gate-in-place');

type GatedResponse = ServerResponse & { [GATE]?: ResponseGate; [IN_PLACE]?: ResponseGate };

/** Shared by all responses: each finds its own gate, or none. */
const gatedMethods = Object.fromEntries(
  STARTERS.map((name) => [
    name,
    function gated(this: GatedResponse, ...given: unknown[]): unknown {
      const gate = this[IN_PLACE];
      return gate ? gate.call(name, given) : methodBelow(this, name).apply(this, given);
    },
  ]),
) as Record<Starter, AnyMethod>;

class ResponseGate {
  private readonly original: Readonly<Record<Starter, AnyMethod>>;
  private readonly queue: Call[] = [];
  private phase: 'open' | 'holding' | 'released' | 'failed' = 'open';
  private statusCode = 0;
  private heldBytes = 0;
  private writerWaits = false;
  /** Does the response look as if it had been sent? */
  disguised = false;
  setters: Setters | undefined;
  /** And no stand-in. */
  readonly isNative: boolean;
  /** Was a place made for it? */
  readonly hasPlace: boolean;
  /** And is it as it was? */
  readonly placeIsFree: boolean;

  constructor(
    private readonly response: GatedResponse,
    private readonly hooks: GateHooks,
  ) {
    this.hasPlace = IN_PLACE in response && response[GATE] === undefined;
    const methods = response as unknown as Record<Starter, AnyMethod>;
    this.placeIsFree = this.hasPlace && STARTERS.every((name) => methods[name] === gatedMethods[name]);
    const below: unknown = this.placeIsFree ? Object.getPrototypeOf(response) : response;
    const { writeHead, write, end, flushHeaders } = below as Record<Starter, AnyMethod>;
    this.original = { writeHead, write, end, flushHeaders };
    this.isNative = response instanceof ServerResponse || (response as object) instanceof Http2ServerResponse;
  }

  call(name: Starter, given: unknown[]): unknown {
    if (this.phase === 'open') given = this.begin(name, given);
    if (this.phase === 'holding') return this.hold(name, given);
    if (this.phase === 'failed') return this.discard(name, given, undefined);
    return this.original[name].apply(this.response, given);
  }

  /** Is the end of the response among what is held back? */
  get ended(): boolean {
    return this.queue.some(([queued]) => queued === 'end');
  }

  private begin(name: Starter, given: unknown[]): unknown[] {
    const { response, hooks } = this;
    const call = name === 'writeHead' && this.isNative ? takeHead(response, given) : given;
    this.phase = 'holding';
    this.statusCode = statusGiven(response, name === 'writeHead' ? call[0] : undefined);
    let committed: void | Promise<void>;
    try {
      committed = hooks.commit(this.statusCode);
      if (committed === undefined) this.setHeaders();
    } catch (error) {
      committed = Promise.reject(error);
    }
    if (committed === undefined) {
      this.phase = 'released';
    } else {
      if (response[GATE] === this) this.disguise();
      const settled = committed.then(
        () => this.release(),
        (error: unknown) => this.fail(error),
      );
      // A stand-in can fail at anything, and nobody else listens.
      if (!this.isNative) settled.catch(() => {});
    }
    return call;
  }

  private disguise(): void {
    this.disguised = true;
    if (this.hasPlace) return;
    // As they are by now: what has wrapped them stays in force.
    const { setHeader, appendHeader, removeHeader } = this.response as unknown as Setters;
    this.setters = { setHeader, appendHeader, removeHeader };
    putDisguiseOn(this.response);
  }

  /** The head of a stand-in may be gone already: engine.io waits for nothing. */
  private setHeaders(): void {
    try {
      this.hooks.setHeaders(this.statusCode);
    } catch (error) {
      if (this.isNative) throw error;
    }
  }

  private hold(name: Starter, given: unknown[]): unknown {
    const { response, queue } = this;
    if (name === 'writeHead' && queue.length > 0) {
      // Layers above ask Node for an implicit head as long as they see none. A second explicit one is a mistake.
      if (given.length > 1) throw headersSent('writeHead');
      return response;
    }
    if (name === 'write' && this.isNative) this.heldBytes += byteLength(given);
    queue.push([name, given]);
    if (name !== 'write') return response;
    // Not false at once: a compressing layer below would never drain for a chunk that does not fill it.
    this.writerWaits = this.heldBytes >= response.writableHighWaterMark;
    return !this.writerWaits;
  }

  private release(): void {
    const { response } = this;
    this.disguised = false;
    try {
      this.setHeaders();
    } catch (error) {
      this.fail(error);
      return;
    }
    this.phase = 'released';
    let flowing: unknown;
    try {
      for (const [name, given] of this.queue) {
        const result = this.original[name].apply(response, given);
        if (name === 'write') flowing = result;
      }
    } catch (error) {
      response.destroy(error as Error);
      return;
    }
    // The writer was told to wait for a drain, which Node only emits if it was told so by the real write as well.
    if (this.writerWaits && flowing === true && !response.writableEnded) response.emit('drain');
  }

  private fail(error: unknown): void {
    const { response } = this;
    this.disguised = false;
    this.phase = 'released';
    try {
      this.hooks.onFailure(error, (body) => this.original.end.call(response, body));
    } catch (cause) {
      destroy(response, cause);
    }
    // A stream goes on writing for a while. After the answer that was given instead, that would be an error of its own.
    this.phase = 'failed';
    for (const [name, given] of this.queue) this.discard(name, given, error);
  }

  private discard(name: Starter, given: unknown[], error: unknown): unknown {
    const callback = given.findLast((argument) => typeof argument === 'function');
    if (callback) process.nextTick(callback, error ?? headersSent(name));
    return name === 'write' ? false : this.response;
  }
}

/** What the head says, or the response; a stand-in may do neither. */
function statusGiven(response: ServerResponse, given: unknown): number {
  const statusCode: unknown = given ?? response.statusCode;
  return typeof statusCode === 'number' ? statusCode : 200;
}

function destroy(response: Partial<ServerResponse>, cause: unknown): void {
  if (typeof response.destroy === 'function') response.destroy(cause as Error);
}

/**
 * Applies status and headers of a `writeHead` to the response at once, as Node would: mistakes are thrown where they
 * are made, and a cookie that is added later is not overwritten by the headers given here.
 */
function takeHead(response: ServerResponse, given: unknown[]): unknown[] {
  const statusCode = Number(given[0]) | 0;
  if (statusCode < 100 || statusCode > 999) {
    throw Object.assign(new RangeError(`Invalid status code: ${String(given[0])}`), {
      code: 'ERR_HTTP_INVALID_STATUS_CODE',
    });
  }
  const reason = typeof given[1] === 'string' ? given[1] : undefined;
  const headers = given[2] ?? (reason === undefined ? given[1] : undefined);
  if (Array.isArray(headers)) {
    const pairs = headerPairs(headers as unknown[]);
    for (const [name] of pairs) response.removeHeader(name);
    for (const [name, value] of pairs) response.appendHeader(name, value);
  } else if (headers) {
    for (const [name, value] of Object.entries(headers as Record<string, string>)) {
      if (name) response.setHeader(name, value);
    }
  }
  response.statusCode = statusCode;
  return reason === undefined ? [statusCode] : [statusCode, reason];
}

/** The bytes of the chunk given to a `write`; refuses what Node would refuse, and where it would. */
function byteLength([chunk, encoding]: unknown[]): number {
  return Buffer.byteLength(
    chunk as string,
    typeof encoding === 'string' ? (encoding as BufferEncoding) : undefined,
  );
}

/** `[[name, value], …]` or `[name, value, …]`: Node takes both. */
function headerPairs(headers: unknown[]): [string, string][] {
  if (Array.isArray(headers[0])) return headers as [string, string][];
  if (headers.length % 2 !== 0) {
    throw Object.assign(new TypeError('The headers given to writeHead end with a name without a value.'), {
      code: 'ERR_INVALID_ARG_VALUE',
    });
  }
  return Array.from({ length: headers.length / 2 }, (_, index): [string, string] => [
    headers[2 * index] as string,
    headers[2 * index + 1] as string,
  ]);
}

/**
 * Makes a held response look like a sent one. Never taken off again: a property that is deleted makes a slow object of
 * the response.
 */
function putDisguiseOn(response: GatedResponse): void {
  Object.assign(response, disguisedSetters);
  Object.defineProperty(response, 'headersSent', HEADERS_SENT);
  Object.defineProperty(response, 'writableEnded', WRITABLE_ENDED);
}

/** Shared by all responses, like what follows. */
const disguisedSetters = Object.fromEntries(
  HEADER_SETTERS.map((name) => [
    name,
    function disguised(this: GatedResponse, ...given: unknown[]): unknown {
      const gate = this[GATE];
      if (gate?.disguised) throw headersSent(name);
      return (gate?.setters?.[name] ?? methodBelow(this, name)).apply(this, given);
    },
  ]),
);

const HEADERS_SENT: PropertyDescriptor & ThisType<GatedResponse> = {
  configurable: true,
  get() {
    return this[GATE]?.disguised === true || belowGate(this, 'headersSent');
  },
};

const WRITABLE_ENDED: PropertyDescriptor & ThisType<GatedResponse> = {
  configurable: true,
  get() {
    const gate = this[GATE];
    return gate?.disguised ? gate.ended : belowGate(this, 'writableEnded');
  },
};

function methodBelow(response: GatedResponse, name: Starter | keyof Setters): AnyMethod {
  return Reflect.get(Object.getPrototypeOf(response) as object, name) as AnyMethod;
}

function belowGate(response: GatedResponse, name: 'headersSent' | 'writableEnded'): boolean {
  return Reflect.get(Object.getPrototypeOf(response) as object, name, response) as boolean;
}

/** The error that Node throws when headers are touched too late. */
function headersSent(method: string): Error {
  return Object.assign(new Error(`Cannot ${method} headers after they are sent to the client`), {
    code: 'ERR_HTTP_HEADERS_SENT',
  });
}
