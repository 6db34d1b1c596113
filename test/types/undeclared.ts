import { expectTypeOf } from 'expect-type';
import { type JsonValue, type Session, type Sessions, type StorableData } from 'nest-sessions';

/** While nothing is declared, any key may hold whatever JSON can carry. */
export function undeclared(session: Session): void {
  expectTypeOf(session['name']).toEqualTypeOf<JsonValue | undefined>();
  session['name'] = 'ada';
  session.set('cart', { items: [{ id: 1 }] });
  expectTypeOf(session.get('name')).toEqualTypeOf<JsonValue | undefined>();
  expectTypeOf(session.get('count', 0)).toEqualTypeOf<JsonValue>();
  expectTypeOf(session.increment('count')).toEqualTypeOf<number>();
  expectTypeOf(session.push('list', 'item')).toEqualTypeOf<number>();
  expectTypeOf(session.userId).toEqualTypeOf<string | null>();
  expectTypeOf(session.save()).toEqualTypeOf<Promise<void>>();
  // @ts-expect-error JSON carries no dates
  session['at'] = new Date();
  // @ts-expect-error JSON carries no functions
  session.set('f', () => 1);
}

interface Checkout {
  step: number;
  items: { id: number }[];
  note?: string;
}

/** A type argument declares the data of one session. */
export function generic(session: Session<Checkout>): void {
  expectTypeOf(session.step).toEqualTypeOf<number | undefined>();
  expectTypeOf(session.get('items')).toEqualTypeOf<{ id: number }[] | undefined>();
  expectTypeOf(session.get('step', 1)).toEqualTypeOf<number>();
  expectTypeOf(session.getOrThrow('note')).toEqualTypeOf<string>();
  expectTypeOf(session.pop('note', null)).toEqualTypeOf<string | null>();
  expectTypeOf(session.keys()).toEqualTypeOf<('step' | 'items' | 'note')[]>();
  session.items?.push({ id: 2 });
  session.push('items', { id: 3 });
  session.increment('step', 2);
  session.update({ step: 3 });
  // @ts-expect-error no such key
  session.stepp = 1;
  // @ts-expect-error no such key
  session.get('stepp');
  // @ts-expect-error the wrong type
  session.step = 'one';
  // @ts-expect-error the wrong type
  session.set('step', 'one');
  // @ts-expect-error not a number
  session.increment('items');
  // @ts-expect-error not an array
  session.push('step', 1);
  // @ts-expect-error the wrong item
  session.push('items', 'apple');
  // @ts-expect-error null is not declared
  session.set('step', null);
}

interface Item {
  sku: string;
  note?: string;
  parts: Item[];
}

class Point {
  x = 0;
}

enum Size {
  Small,
  Large,
}

/** Interfaces are as good as other types, and so is whatever else JSON carries. */
interface Shelf {
  item: Item;
  items: readonly Item[];
  pair: [number, Item];
  byName: Record<string, Item>;
  choice: { kind: 'none' } | { kind: 'one'; item: Item } | null;
  point: Point;
  size: Size;
  id: string & { readonly brand: 'id' };
  later?: Partial<Item> | undefined;
  json: JsonValue;
}

export function interfaces(session: Session<Shelf>, item: Item): void {
  session.item = item;
  session.items = [item];
  session.pair = [1, item];
  session.byName = { first: item };
  session.choice = { kind: 'one', item };
  session.point = new Point();
  session.size = Size.Large;
  session.set('later', { note: 'none' });
  session.update({ item, json: null });
  expectTypeOf(session.item).toEqualTypeOf<Item>();
  expectTypeOf(session.get('choice')).toEqualTypeOf<Shelf['choice'] | undefined>();
  expectTypeOf(session.get('id')).toEqualTypeOf<Shelf['id'] | undefined>();
  // @ts-expect-error the wrong item
  session.item = { sku: 1, parts: [] };
}

/** What works on any session says so by the same constraint. */
export function anySession<Data extends StorableData<Data>>(session: Session<Data>): string | null {
  return session.userId;
}

export async function outsideOfRequests(sessions: Sessions, item: Item): Promise<void> {
  const created = await sessions.create({ item });
  expectTypeOf(created.get('item')).toEqualTypeOf<Item | undefined>();
  anySession(created);
  const opened = await sessions.open<Shelf>('key');
  expectTypeOf(opened?.items).toEqualTypeOf<readonly Item[] | undefined>();
  // @ts-expect-error a session cannot hold a Date
  await sessions.create({ at: new Date() });
  // @ts-expect-error a session cannot hold a Date
  await sessions.open<{ at: Date }>('key');
}
