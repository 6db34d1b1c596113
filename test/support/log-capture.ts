// oxlint-disable-next-line import/no-unassigned-import -- the logger alone does not load what it needs
import 'reflect-metadata';
import { format, inspect } from 'node:util';
import { Logger } from '@nestjs/common/services/logger.service.js';
import { expect } from '@jest/globals';
import eventEmitter2 from 'eventemitter2';
import * as errors from '../../libs/session/src/session.errors.js';
import { LOGS_VARIABLE, logFiles, type LogFiles } from './log-files.js';

/**
 * Runs before every spec file: whatever is said in it at any level, by Nest's logger, the console, the standard streams,
 * errors of the library and its events, goes into a file as well, and the secrets of the run into another. At the end of
 * the run `log-search-reporter.mjs` looks for the latter in the former. The terminal shows what it would have shown.
 */

type Method = (this: unknown, ...parameters: unknown[]) => unknown;
type Methods = { [name: string]: Method & { [ORIGINAL]?: Method } };

const ORIGINAL = Symbol.for('nest-sessions:original');

/** Before any module binds to what they export. The streams and modules of Node outlive the spec file. */
const crypto = process.getBuiltinModule('node:crypto');
const http = process.getBuiltinModule('node:http');

if (process.env[LOGS_VARIABLE] !== undefined) capture(logFiles(process.env[LOGS_VARIABLE]));

function capture(files: LogFiles): void {
  const { testPath: spec = '' } = expect.getState();
  let test = '';
  // Not when something is said: what comes after the last test finds Jest gone.
  beforeEach(() => {
    test = expect.getState().currentTestName ?? '';
  });
  const record: Recorder = (source, parameters) =>
    files.log({ source, spec, test, text: textOf(parameters) });
  captureLoggers(record);
  captureErrors(record);
  captureSecrets(files);
}

type Recorder = (source: string, parameters: unknown[]) => void;

function captureLoggers(record: Recorder): void {
  for (const level of ['fatal', 'error', 'warn', 'log', 'debug', 'verbose']) {
    // In front of the logger, where no level has been left out yet.
    for (const logger of [Logger, Logger.prototype]) {
      before(logger, level, (...parameters) => record(`Logger.${level}`, parameters));
    }
  }
  for (const level of ['error', 'warn', 'info', 'log', 'debug', 'trace', 'dir', 'table']) {
    before(console, level, (...parameters) => record(`console.${level}`, [format(...parameters)]));
  }
  for (const stream of ['stdout', 'stderr'] as const) {
    before(process[stream], 'write', (chunk) => record(stream, [String(chunk)]));
  }
  const { prototype: emitter } = eventEmitter2.EventEmitter2;
  before(emitter, 'emit', (...event) => record('event', event));
  // The library hands its events to the listeners itself, to those for all events first.
  const listener = (...event: unknown[]): void => record('event', event);
  wrap(emitter, 'listenersAny', (original) => {
    return function () {
      return [...(original.call(this) as unknown[]), listener];
    };
  });
}

/** Each error of the library, whoever catches it: the classes get a parent that tells of it. */
function captureErrors(record: Recorder): void {
  const told = new Set<string>();
  abstract class Recorded extends errors.SessionError {
    constructor(...parameters: ConstructorParameters<typeof errors.SessionError>) {
      super(...parameters);
      const key = `${this.name} ${this.message} ${String(this.cause)}`;
      if (told.has(key)) return;
      told.add(key);
      // When it has all of its members.
      void Promise.resolve().then(() => record('error', [this]));
    }
  }
  for (const value of Object.values(errors)) {
    if (Object.getPrototypeOf(value) === errors.SessionError) Object.setPrototypeOf(value, Recorded);
  }
}

/** All that is drawn for a secret, and all that comes or goes in a cookie or a header, but for session ids, which are public. */
function captureSecrets(files: LogFiles): void {
  after(crypto, 'randomBytes', (bytes, [size]) => {
    if (size === 32 && Buffer.isBuffer(bytes)) files.secret(bytes.toString('base64url'));
  });
  const inCookies = (text: string): void => {
    for (const [, value] of text.matchAll(/=(?:[\w-]{22}\.)?([\w.-]{43,})(?=;|$)/g)) {
      files.secret(value as string);
    }
  };
  const inHeader = (text: string): void => {
    const [, secret] = /^(?:bearer +)?(?:[\w-]{22}\.)?([\w.-]{43,})$/i.exec(text) ?? [];
    if (secret !== undefined) files.secret(secret);
  };
  for (const method of ['setHeader', 'appendHeader']) {
    before(http.OutgoingMessage.prototype, method, (name, value) => {
      const look = String(name).toLowerCase() === 'set-cookie' ? inCookies : inHeader;
      [value].flat().map(String).forEach(look);
    });
  }
  before(http.Server.prototype, 'emit', (event, request) => {
    if (event !== 'request') return;
    const { cookie = '', ...headers } = (request as { headers: Record<string, unknown> }).headers;
    inCookies(String(cookie));
    Object.values(headers).flat().map(String).forEach(inHeader);
  });
}

function textOf(parameters: unknown[]): string {
  return parameters
    .map((parameter) => (typeof parameter === 'string' ? parameter : inspect(parameter, { depth: 8 })))
    .join(' ');
}

function before(target: object, name: string, look: (...parameters: unknown[]) => void): void {
  wrap(target, name, (original) => {
    return function (...parameters) {
      look(...parameters);
      return original.apply(this, parameters);
    };
  });
}

function after(target: object, name: string, look: (result: unknown, parameters: unknown[]) => void): void {
  wrap(target, name, (original) => {
    return function (...parameters) {
      const result = original.apply(this, parameters);
      look(result, parameters);
      return result;
    };
  });
}

/** In place of the wrapper of the spec file before, whose world is gone. */
function wrap(target: object, name: string, wrapped: (original: Method) => Method): void {
  const methods = target as Methods;
  const current = methods[name] as Methods[string];
  const original = current[ORIGINAL] ?? current;
  methods[name] = Object.assign(wrapped(original), { [ORIGINAL]: original });
}
