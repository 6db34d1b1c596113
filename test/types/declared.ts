import { Controller, Get, Post } from '@nestjs/common';
import { expectTypeOf } from 'expect-type';
import { Session } from 'nest-sessions';

interface Item {
  id: number;
  quantity: number;
}

declare module 'nest-sessions' {
  interface SessionData {
    cart: Item[];
    visits: number;
  }
}

/** One declaration types every session of the application. */
@Controller('cart')
export class CartController {
  @Post()
  add(@Session() session: Session, @Session('cart') cart: Item[] | undefined): Item[] {
    session.cart = [...(session.cart ?? []), { id: 1, quantity: 1 }];
    expectTypeOf(session.cart).toEqualTypeOf<Item[]>();
    expectTypeOf(session.get('cart')).toEqualTypeOf<Item[] | undefined>();
    expectTypeOf(session.get('visits', 0)).toEqualTypeOf<number>();
    session.push('cart', { id: 2, quantity: 1 });
    session.increment('visits');
    // @ts-expect-error the wrong item
    session.cart = [{ id: 'one' }];
    // @ts-expect-error no such key
    session.visit = 1;
    // @ts-expect-error no such key
    session.set('visit', 1);
    return cart ?? [];
  }

  @Get()
  other(@Session() session: Session<{ step: number }>): number | undefined {
    // @ts-expect-error a type argument stands instead of the declaration
    session.cart = [];
    return session.step;
  }
}
