import { type IncomingMessage } from 'node:http';
import { describeDevice, FASTIFY_REQUEST, platformRequestOf } from './platform-request.js';

const both = { ip: true, userAgent: true };
const from = (remoteAddress: string | undefined, beside: object = {}): IncomingMessage =>
  ({ headers: {}, socket: { remoteAddress }, ...beside }) as IncomingMessage;

it.each([
  ['192.0.2.77', '192.0.2.0'],
  ['::ffff:192.0.2.77', '192.0.2.0'],
  ['::ffff:c000:24d', '192.0.2.0'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1::'],
  ['fe80::1%eth0', 'fe80::'],
  ['::1', '::'],
])('S97: keeps of %s its network, %s', (address, network) => {
  expect(describeDevice(from(address), both)).toEqual({ ip: network });
});

it.each([undefined, '', 'unknown', '192.0.2', '192.0.2.77:4711', '0x7f.1'])(
  'keeps nothing of the address %p',
  (address) => expect(describeDevice(from(address), both)).toBeUndefined(),
);

it('believes the platform before the socket', () => {
  expect(describeDevice(from('127.0.0.1', { ip: '198.51.100.9' }), both)).toEqual({ ip: '198.51.100.0' });
  expect(describeDevice(from('127.0.0.1', { [FASTIFY_REQUEST]: { ip: '203.0.113.9' } }), both)).toEqual({
    ip: '203.0.113.0',
  });
});

it('S97: keeps 256 characters of the user agent, and what was asked for only', () => {
  const request = from('192.0.2.77', { headers: { 'user-agent': 'x'.repeat(300) } });
  expect(describeDevice(request, both)).toEqual({ ip: '192.0.2.0', userAgent: 'x'.repeat(256) });
  expect(describeDevice(request, { ip: false, userAgent: true })).toEqual({ userAgent: 'x'.repeat(256) });
  expect(describeDevice(request, { ip: true, userAgent: false })).toEqual({ ip: '192.0.2.0' });
  expect(describeDevice(request, { ip: false, userAgent: false })).toBeUndefined();
});

describe('the request that attributes of the cookie depend on', () => {
  const headers = { host: 'shop.example.com:8080' };

  it('is that of the platform', () => {
    const fastify = { headers, hostname: 'example.com', protocol: 'https', originalUrl: '/' };
    expect(platformRequestOf(from('127.0.0.1', { [FASTIFY_REQUEST]: fastify }))).toBe(fastify);
    const express = from('127.0.0.1', { hostname: 'example.com' });
    expect(platformRequestOf(express)).toBe(express);
  });

  it('has the same members when the platform has not seen it', () => {
    expect(platformRequestOf(from('127.0.0.1', { headers, url: '/a?b' }))).toEqual({
      headers,
      hostname: 'shop.example.com',
      protocol: 'http',
      originalUrl: '/a?b',
    });
    expect(platformRequestOf(from('127.0.0.1', { headers: { host: '[::1]:80' } })).hostname).toBe('[::1]');
  });
});
