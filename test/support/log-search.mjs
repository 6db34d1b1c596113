import { createHash } from 'node:crypto';

/** What no log may hold, whether or not it belongs to a session of the run. */
const KEY_HASH = /\b[sp]1\.[\w-]{43}/;

/** A part of a secret is a leak too: nobody logs so many of its characters by chance. */
const PART = 16;
const RUNS = new RegExp(`[\\w+/-]{${PART},}`, 'g');

/** Specs also present keys such as `kkkk…`; a key that was drawn has more different characters than this. */
const FEW_CHARACTERS = 15;

/**
 * Finds the secrets of session keys, and key hashes, in what was logged: as they are, shortened, encoded or hashed.
 * The other half of a session key, the session id, may be logged.
 *
 * @param {{ text: string }[]} entries each may have any number of lines
 * @param {Iterable<string>} secrets of session keys, and other values of session cookies
 * @returns {{ entry: { text: string }, what: string, line: string }[]} each leak once, with the secret masked
 */
export function searchLogs(entries, secrets) {
  const places = placesIn(entries);
  const leaks = places.flatMap(({ entry, line }) => {
    const found = KEY_HASH.exec(line);
    return found ? [{ entry, what: 'a key hash', line: mask(line, found.index, found[0].length) }] : [];
  });
  const parts = partsOf(places);
  for (const secret of new Set(secrets)) {
    if (new Set(secret).size <= FEW_CHARACTERS) continue;
    for (const [what, form] of formsOf(secret)) {
      const found = parts.get(form.slice(0, PART)) ?? parts.get(form.slice(-PART));
      if (found === undefined) continue;
      leaks.push({ entry: found.entry, what, line: mask(found.line, found.index, found.length) });
    }
  }
  return leaks;
}

/** Every line once: most are frames of stacks, the same again and again. */
function placesIn(entries) {
  const lines = new Map();
  for (const entry of entries) {
    for (const line of entry.text.split('\n')) {
      if (!lines.has(line)) lines.set(line, { entry, line });
    }
  }
  return [...lines.values()];
}

/** Whatever could be a part of a secret → where it stands. There is far less of this than of secrets. */
function partsOf(places) {
  const parts = new Map();
  for (const { entry, line } of places) {
    for (const { 0: run, index } of line.matchAll(RUNS)) {
      const place = { entry, line, index, length: run.length };
      const text = run.replaceAll('+', '-').replaceAll('/', '_');
      for (let at = 0; at + PART <= text.length; at += 1) parts.set(text.slice(at, at + PART), place);
    }
  }
  return parts;
}

/** All in base64url or hexadecimal digits; base64 is read as base64url. */
function* formsOf(secret) {
  yield ['a session key', secret];
  yield ['a session key in base64', Buffer.from(secret).toString('base64url').slice(0, -2)];
  yield ['a session key in hexadecimal', Buffer.from(secret).toString('hex')];
  yield ['the bytes of a session key', Buffer.from(secret, 'base64url').toString('hex')];
  const hash = createHash('sha256').update(secret).digest();
  yield ['the SHA-256 of a session key', hash.toString('hex')];
  yield ['the SHA-256 of a session key, in base64', hash.toString('base64url')];
}

function mask(line, index, length) {
  const [before, after] = [line.slice(Math.max(0, index - 200), index), line.slice(index + length)];
  return `${before}${line.slice(index, index + 4)}…${after.slice(0, 200)}`.trim();
}
