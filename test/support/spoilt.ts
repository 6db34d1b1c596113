import * as fc from 'fast-check';

/** What a piece of JSON turns into when bytes go wrong, or a program of another version has written it. */
const PIECES = [
  'null',
  'true',
  '0',
  '-1',
  '1.5',
  '1e999',
  '9007199254740993',
  '""',
  '"x"',
  '{}',
  '[]',
  '[[]]',
  '[null]',
  '"2026-01-01T00:00:00.000Z"',
  '"soon"',
  '{"__proto__":{"polluted":1}}',
  '{"c":1,"s":5,"r":{},"i":[],"p":"x"}',
  '{"i":{"a":"1"}}',
  '{"p":{"a":5}}',
  '{"r":5}',
  '{"s":null}',
  '\n',
  '\t',
  ' ',
  '\0',
  '',
];
/** A value, or a key. */
const PIECE = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?|null|true|false|\[\]|\{\}/g;

type Spoil = (text: string) => string;

/** Of an integer, because nearly all doubles between 0 and 1 are nearly 0. */
const place = fc.integer({ min: 0, max: 999_999 }).map((millionth) => millionth / 1_000_000);
const garbage = fc.oneof(fc.string({ unit: 'binary', maxLength: 20 }), fc.constantFrom(...PIECES));
const at = (text: string, where: number): number => Math.floor(where * (text.length + 1));

const cut = place.map(
  (where): Spoil =>
    (text) =>
      text.slice(0, at(text, where)),
);
const drop = fc.tuple(place, fc.integer({ min: 1, max: 8 })).map(
  ([where, length]): Spoil =>
    (text) =>
      text.slice(0, at(text, where)) + text.slice(at(text, where) + length),
);
const insert = fc.tuple(place, garbage).map(
  ([where, what]): Spoil =>
    (text) =>
      text.slice(0, at(text, where)) + what + text.slice(at(text, where)),
);
const overwrite = fc.tuple(place, garbage).map(
  ([where, what]): Spoil =>
    (text) =>
      text.slice(0, at(text, where)) + what + text.slice(at(text, where) + what.length),
);
const exchange = fc.tuple(place, fc.constantFrom(...PIECES)).map(([where, what]): Spoil => (text) => {
  const pieces = [...text.matchAll(PIECE)];
  const piece = pieces[Math.floor(where * pieces.length)];
  if (piece === undefined) return what;
  return text.slice(0, piece.index) + what + text.slice(piece.index + piece[0].length);
});
const double = fc.tuple(place, place).map(
  ([one, other]): Spoil =>
    (text) =>
      text + text.slice(at(text, Math.min(one, other)), at(text, Math.max(one, other))),
);
const replace = garbage.map(
  (what): Spoil =>
    () =>
      what,
);

/** Ways to spoil a text, mostly such as leave some of it. */
export const spoil: fc.Arbitrary<Spoil> = fc
  .array(
    fc.oneof(
      { arbitrary: exchange, weight: 10 },
      { arbitrary: fc.oneof(cut, drop, insert, overwrite, double), weight: 3 },
      { arbitrary: replace, weight: 1 },
    ),
    { minLength: 1, maxLength: 2 },
  )
  .map((steps) => (text) => steps.reduce((spoilt, step) => step(spoilt), text));
