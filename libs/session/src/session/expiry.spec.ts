import * as fc from 'fast-check';
import { runInNewContext } from 'node:vm';
import { SessionValueError } from '../session.errors.js';
import { type SessionExpiry } from '../stores/session-store.js';
import {
  deadlineOf,
  expiresAtBrowserClose,
  type ExpiryPolicy,
  expiryAge,
  expiryDate,
  isExpired,
  parseDuration,
  parseExpiry,
  touchDue,
} from './expiry.js';

const minute = 60_000;
const hour = 60 * minute;
const now = Date.UTC(2026, 7, 1, 12);
const inSeconds = (seconds: number) => new Date(now + seconds * 1000).toISOString();
const policy: ExpiryPolicy = {
  cookieAge: 24 * hour,
  idleTimeout: hour,
  absoluteTimeout: null,
  expireAtBrowserClose: false,
  sliding: true,
};

describe('parseDuration', () => {
  it.each<[unknown, number | undefined]>([
    [30, 30_000],
    [0, 0],
    [1.5, 1500],
    [-5, -5000],
    ['30m', 30 * minute],
    ['2w', 14 * 24 * hour],
    ['2 days', 48 * hour],
    ['500ms', 500],
    ['-1h', -hour],
    ['30', undefined],
    ['', undefined],
    ['soon', undefined],
    ['1 fortnight', undefined],
    ['9'.repeat(400) + 'd', undefined],
    ['2000y', undefined],
    [Number.NaN, undefined],
    [Infinity, undefined],
    [1e300, undefined],
    [null, undefined],
    [true, undefined],
    [{}, undefined],
  ])('%p → %p', (input, duration) => {
    expect(parseDuration(input)).toBe(duration);
  });
});

describe('parseExpiry', () => {
  it.each<[unknown, SessionExpiry]>([
    [null, null],
    [1800, 1800],
    [0, 0],
    [-0, 0],
    [-10, -10],
    ['30m', 1800],
    [new Date(now), '2026-08-01T12:00:00.000Z'],
    [runInNewContext(`new Date(${now})`), '2026-08-01T12:00:00.000Z'],
  ])('%p → %p', (input, expiry) => {
    expect(parseExpiry(input)).toBe(expiry);
  });

  it.each([
    Number.NaN,
    Infinity,
    1e12,
    new Date(Number.NaN),
    new Date(8.64e15),
    new Date(-8.64e15),
    '2026-08-01',
    '',
    undefined,
    true,
    [],
    {},
    10n,
  ])('refuses %p', (input) => {
    expect(() => parseExpiry(input)).toThrow(SessionValueError);
  });

  it('takes only what leads to valid dates and deadlines', () => {
    const inputs = fc.oneof(
      fc.double({ noNaN: true, min: -1000 * 365 * 86_400, max: 1000 * 365 * 86_400 }),
      fc.integer(),
      fc.date({ noInvalidDate: true, min: new Date('1900-01-01'), max: new Date('8999-01-01') }),
    );
    fc.assert(
      fc.property(inputs, (input) => {
        const expiry = parseExpiry(input);
        expect(String(expiry).length).toBeLessThanOrEqual(40);
        expect(expiryDate(expiry, policy, { now }).getTime()).not.toBeNaN();
        expect(Number.isSafeInteger(deadlineOf(expiry, now, now, policy))).toBe(true);
        expect(Number.isFinite(expiryAge(expiry, policy, { now }))).toBe(true);
      }),
    );
  });
});

describe('age and date, as in Django', () => {
  it.each<[string, SessionExpiry, number | undefined, number]>([
    ['no expiry of its own', null, undefined, 86_400],
    ['browser session', 0, undefined, 86_400],
    ['seconds', 10, undefined, 10],
    ['seconds, whatever the modification', 10, 20, 10],
    ['negative seconds', -5, undefined, -5],
    ['a moment', inSeconds(10), undefined, 10],
    ['a moment, a little later, rounded down', inSeconds(10), 0.001, 9],
    ['a moment that has passed, rounded down', inSeconds(10), 20.001, -11],
  ])('age: %s', (_, expiry, later, age) => {
    const modification = later === undefined ? undefined : now + later * 1000;
    expect(expiryAge(expiry, policy, { now, modification })).toBe(age);
  });

  it.each<[string, SessionExpiry, number, number]>([
    ['no expiry of its own', null, 0, 86_400],
    ['browser session', 0, 5, 86_405],
    ['seconds', 10, 0, 10],
    ['seconds after the modification', 10, 20, 30],
    ['a moment, whatever the modification', inSeconds(10), 20, 10],
  ])('date: %s', (_, expiry, later, expected) => {
    const date = expiryDate(expiry, policy, { now, modification: now + later * 1000 });
    expect(date).toEqual(new Date(now + expected * 1000));
  });

  it.each<[SessionExpiry, boolean, boolean]>([
    [null, false, false],
    [null, true, true],
    [0, false, true],
    [0, true, true],
    [10, true, false],
    [inSeconds(10), true, false],
  ])('browser close: %p with %p configured → %p', (expiry, configured, expected) => {
    expect(expiresAtBrowserClose(expiry, { ...policy, expireAtBrowserClose: configured })).toBe(expected);
  });
});

describe('deadlineOf', () => {
  it.each<[string, SessionExpiry, Partial<ExpiryPolicy>, number]>([
    ['the idle timeout', null, {}, now + hour],
    ['the idle timeout for browser sessions', 0, {}, now + hour],
    ['seconds of its own', 10, {}, now + 10_000],
    ['more seconds than the idle timeout', 7200, {}, now + 2 * hour],
    ['negative seconds', -1, {}, now - 1000],
    ['whole milliseconds', 0.0005, {}, now],
    ['a moment', inSeconds(90), {}, now + 90_000],
    ['the absolute timeout', null, { absoluteTimeout: 2.5 * hour }, now + 0.5 * hour],
    [
      'the absolute timeout before a moment',
      inSeconds(7200),
      { absoluteTimeout: 2.5 * hour },
      now + 0.5 * hour,
    ],
    ['the idle timeout when it comes first', null, { absoluteTimeout: 4 * hour }, now + hour],
  ])('%s', (_, expiry, options, deadline) => {
    expect(deadlineOf(expiry, now - 2 * hour, now, { ...policy, ...options })).toBe(deadline);
  });
});

const record = (given: Partial<Parameters<typeof isExpired>[0]> = {}) => ({
  expiry: null,
  createdAt: now - 2 * hour,
  meta: {},
  lastSeenAt: now - 30 * minute,
  expiresAt: now + 30 * minute,
  ...given,
});

describe('isExpired', () => {
  it.each<[string, Parameters<typeof record>[0], Partial<ExpiryPolicy>, boolean]>([
    ['live', {}, {}, false],
    ['at the last millisecond', { expiresAt: now + 1 }, {}, false],
    ['at the stored deadline', { expiresAt: now }, {}, true],
    ['idle timeout shortened', {}, { idleTimeout: 20 * minute }, true],
    ['idle timeout lengthened: not revived', { expiresAt: now - 1 }, { idleTimeout: 9 * hour }, true],
    ['absolute timeout introduced', {}, { absoluteTimeout: 2 * hour }, true],
    ['absolute timeout not reached', {}, { absoluteTimeout: 2 * hour + 1 }, false],
    ['own seconds outlive the idle timeout', { expiry: 7200 }, { idleTimeout: minute }, false],
    ['own seconds', { expiry: 60 }, {}, true],
    ['a moment is not idle', { expiry: inSeconds(60) }, { idleTimeout: minute }, false],
    ['a moment that has passed', { expiry: inSeconds(-1) }, {}, true],
    ['a moment that cannot be read', { expiry: 'someday' }, {}, true],
  ])('%s', (_, given, options, expected) => {
    expect(isExpired(record(given), now, { ...policy, ...options })).toBe(expected);
  });
});

describe('touchDue', () => {
  it.each<[string, Parameters<typeof record>[0], Partial<ExpiryPolicy>, boolean]>([
    ['half the idle time has passed', {}, {}, true],
    ['a tenth has passed', { lastSeenAt: now - 6 * minute, expiresAt: now + 54 * minute }, {}, true],
    ['less than a tenth', { lastSeenAt: now - 6 * minute + 1, expiresAt: now + 54 * minute + 1 }, {}, false],
    ['a tenth of its own seconds', { expiry: 36_000, expiresAt: now + 9.5 * hour }, {}, false],
    [
      'a tenth of a shorter cookie',
      { expiresAt: now + hour },
      { cookieAge: 20 * minute, idleTimeout: 40 * hour },
      true,
    ],
    [
      'less than a tenth of a shorter cookie',
      { lastSeenAt: now - 2 * minute + 1 },
      { cookieAge: 20 * minute, idleTimeout: 40 * hour },
      false,
    ],
    [
      'S54: a tenth of 400 days, where its own seconds are more',
      {
        expiry: 1e9,
        createdAt: now - 41 * 24 * hour,
        lastSeenAt: now - 41 * 24 * hour,
        expiresAt: now + hour,
      },
      {},
      true,
    ],
    ['not sliding', {}, { sliding: false }, false],
    ['a fixed moment', { expiry: inSeconds(1800) }, {}, false],
    ['a fixed moment after the stored deadline', { expiry: inSeconds(7200) }, {}, false],
    ['browser session', { expiry: 0 }, {}, true],
    ['held by the absolute timeout', {}, { absoluteTimeout: 2.5 * hour }, false],
    ['idle timeout shortened since', { expiresAt: now + 9 * hour }, { idleTimeout: 40 * minute }, true],
  ])('%s', (_, given, options, expected) => {
    expect(touchDue(record(given), now, { ...policy, ...options })).toBe(expected);
  });
});

it('keeps a session alive as long as it is used within its idle time, and no longer', () => {
  const gaps = fc.array(fc.integer({ min: 0, max: 1.2 * hour }), { maxLength: 30 });
  fc.assert(
    fc.property(gaps, fc.option(fc.integer({ min: 1, max: 20 * hour })), (pauses, absoluteTimeout) => {
      const rules = { ...policy, absoluteTimeout };
      const current = record({
        createdAt: now,
        lastSeenAt: now,
        expiresAt: deadlineOf(null, now, now, rules),
      });
      const end = absoluteTimeout === null ? Infinity : now + absoluteTimeout;
      let moment = now;
      for (const pause of pauses) {
        moment += pause;
        const expired = isExpired(current, moment, rules);
        // Touches are throttled to a tenth of the idle time, so that much may be missing.
        const mustLive = moment < end && pause <= 0.9 * hour;
        const mustEnd = moment >= end || pause >= hour;
        expect({ expired, mustLive, mustEnd }).toEqual({
          expired: mustEnd || (!mustLive && expired),
          mustLive,
          mustEnd,
        });
        if (expired) return;
        if (!touchDue(current, moment, rules)) continue;
        Object.assign(current, { lastSeenAt: moment, expiresAt: deadlineOf(null, now, moment, rules) });
      }
    }),
  );
});
