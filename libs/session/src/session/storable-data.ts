import { type JsonValue } from '../stores/session-store.js';

/**
 * `Data`, if a session can hold it. Otherwise the type of a property that JSON cannot carry is a text that says what to
 * store instead, and so is the compiler's error. `unknown` is refused, because it may be anything; `any` is accepted.
 *
 * A function that takes any session says it as `<Data extends StorableData<Data>>(session: Session<Data>)`.
 */
export type StorableData<Data> = object & { [Key in keyof Data]: Checked<Data[Key]> };

/** The type itself and no copy of it, so that editors show the names that were declared. */
type Checked<Value> = [Value] extends [Storable<Value> | undefined] ? Value : Storable<Present<Value>>;

/** The same rules as those of `encodeValue`, as far as types tell. An interface is checked property by property. */
type Storable<Value> = Value extends JsonValue
  ? Value
  : Value extends (...args: never[]) => unknown
    ? 'A session cannot hold a function. Store the data that it works on.'
    : Value extends Date
      ? 'A session cannot hold a Date. Use date.toISOString() or date.getTime().'
      : Value extends ReadonlyMap<unknown, unknown>
        ? 'A session cannot hold a Map. Use Object.fromEntries(map) or [...map].'
        : Value extends ReadonlySet<unknown>
          ? 'A session cannot hold a Set. Use [...set].'
          : Value extends ArrayBufferLike | ArrayBufferView
            ? "A session cannot hold binary data. Use Buffer.from(value).toString('base64')."
            : Value extends { toJSON(key?: never): unknown }
              ? 'A session cannot hold an object with a toJSON method. Use value.toJSON().'
              : Value extends readonly unknown[]
                ? { [Index in keyof Value]: Storable<Value[Index]> }
                : Value extends object
                  ? { [Key in keyof Value]: Storable<Present<Value[Key]>> | Extract<Value[Key], undefined> }
                  : NotStorable<Value>;

type NotStorable<Value> = Value extends bigint
  ? 'A session cannot hold a bigint. Use String(value).'
  : Value extends symbol
    ? 'A session cannot hold a symbol. Use a string.'
    : Value extends undefined
      ? 'A session cannot hold undefined in an array. Use null.'
      : 'A session cannot hold a value of unknown type. Declare it as JsonValue, or as what it is.';

/** A property that is undefined is left out, which JSON can carry. */
type Present<Value> = Exclude<Value, undefined>;
