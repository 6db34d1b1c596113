import { z } from 'zod';
import { SessionConfigError } from '../session.errors.js';
import { type SessionTransport } from '../session.options.js';

const keyPlace = z.union([z.literal('cookie'), z.strictObject({ header: z.string() })]);

export const transportOption = z
  .union(
    [keyPlace, z.array(keyPlace).min(1)],
    "must be 'cookie', { header: 'authorization' }, or a list of such",
  )
  .default('cookie')
  .transform(resolveTransport);

/** A header that carries session keys. */
export interface KeyHeader {
  /** In requests; in lower case, as Node has it. */
  name: string;
  /** Does the key stand behind the word `Bearer`? */
  bearer: boolean;
  /** In responses. */
  answer: string;
}

/** Where requests have their session keys, and where new ones go. */
export interface ResolvedTransport {
  /** The first of them that a request has counts, whatever is in it. */
  headers: KeyHeader[];
  /** Is the cookie read of a request that has none of them? */
  cookie: boolean;
  /** For a client that brings neither. */
  first: 'cookie' | KeyHeader;
  /** All of it, for the header Vary. */
  vary: string;
}

/** Authorization is a header of requests, so that the answer has to come in another one. */
const ANSWER_TO_BEARER = 'Session-Key';

/** Headers that clients and proxies write, read or drop themselves. */
const TAKEN =
  /^(cookie|set-cookie|host|connection|keep-alive|upgrade|te|trailer|transfer-encoding|expect|origin|referer|date|via|vary|cache-control|location|user-agent|accept|content-.*|accept-.*|access-control-.*|if-.*|sec-.*|proxy-.*)$/i;

/** @throws SessionConfigError */
function resolveTransport(transport: SessionTransport | SessionTransport[]): ResolvedTransport {
  const given = [transport].flat();
  const channels = given.map((channel, index) =>
    channel === 'cookie'
      ? channel
      : keyHeader(
          channel.header,
          Array.isArray(transport) ? `transport[${index}].header` : 'transport.header',
        ),
  );
  const names = channels.map((channel) => (channel === 'cookie' ? 'Cookie' : varyName(channel)));
  if (new Set(names.map((name) => name.toLowerCase())).size < names.length) {
    throw new SessionConfigError('transport', 'names the same place twice. Name it once.');
  }
  return {
    headers: channels.filter((channel) => channel !== 'cookie'),
    cookie: channels.includes('cookie'),
    first: channels[0] as 'cookie' | KeyHeader,
    vary: names.join(', '),
  };
}

function keyHeader(header: string, option: string): KeyHeader {
  // Proxies drop names with an underscore.
  if (!/^[a-z][a-z0-9-]*$/i.test(header)) {
    throw new SessionConfigError(
      option,
      `must be the name of a header, of letters, digits and '-', but is ${JSON.stringify(header)}.`,
    );
  }
  if (TAKEN.test(header)) {
    throw new SessionConfigError(
      option,
      `is ${header}, which has a meaning of its own. Choose 'authorization', or a name such as 'x-session-key'.`,
    );
  }
  const name = header.toLowerCase();
  const bearer = name === 'authorization';
  return { name, bearer, answer: bearer ? ANSWER_TO_BEARER : header };
}

function varyName({ bearer, answer }: KeyHeader): string {
  return bearer ? 'Authorization' : answer;
}
