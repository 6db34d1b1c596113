import { jest } from '@jest/globals';
import { Outage } from './outage.js';

describe('Outage', () => {
  let now = 1000;
  beforeEach(() => {
    now = 1000;
    jest.spyOn(performance, 'now').mockImplementation(() => now);
  });
  afterEach(() => jest.restoreAllMocks());

  it('begins once, and is over when what failed has worked for five seconds', () => {
    const outage = new Outage();
    expect([outage.failed('load'), outage.failed('load')]).toEqual([true, false]);
    now += 4200;
    expect([outage.worked('load'), outage.failed('load')]).toEqual([undefined, false]);
    now += 4999;
    expect(outage.worked('load')).toBeUndefined();
    now += 1;
    expect(outage.worked('load')).toBe('3 calls failed in 4.2 s');
    expect(outage.worked('load')).toBeUndefined();
    expect(outage.failed('load')).toBe(true);
    now += 5000;
    expect(outage.worked('load')).toBe('1 call failed in 0.0 s');
  });

  it('has begun when the first of what failed began', () => {
    const outage = new Outage();
    expect(outage.isOn).toBe(false);
    expect(outage.failed('load', 800)).toBe(true);
    expect(outage.isOn).toBe(true);
    now += 5000;
    expect(outage.worked('load')).toBe('1 call failed in 0.8 s');
    expect(outage.isOn).toBe(false);
  });

  it('is not over while only something else works', () => {
    const outage = new Outage();
    expect(outage.failed('save')).toBe(true);
    now += 60_000;
    expect([outage.worked('load'), outage.failed('create')]).toEqual([undefined, false]);
    now += 60_000;
    expect([outage.worked('load'), outage.worked('create')]).toEqual([undefined, '2 calls failed in 60.0 s']);
  });

  it('is over when nothing has failed for five minutes, though what failed is not asked for any more', () => {
    const outage = new Outage();
    expect(outage.failed('count')).toBe(true);
    now += 299_999;
    expect(outage.worked('load')).toBeUndefined();
    now += 1;
    expect(outage.worked('load')).toBe('1 call failed in 0.0 s');
    expect(outage.failed('load')).toBe(true);
  });

  it('is one, however often things fail and work by turns', () => {
    const outage = new Outage();
    const began: boolean[] = [];
    for (let second = 0; second < 60; second++, now += 1000) {
      began.push(outage.failed('save'));
      expect(outage.worked('save')).toBeUndefined();
    }
    expect(began.filter(Boolean)).toHaveLength(1);
  });
});
