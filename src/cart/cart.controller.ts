import {
  Body,
  Controller,
  Get,
  NotFoundException,
  Param,
  ParseIntPipe,
  Post,
  Redirect,
  Render,
} from '@nestjs/common';
import { Session } from 'nest-sessions';
import { formatPrice } from '../format.js';
import { type CartItem } from '../session-data.js';
import { type Product, products } from './products.js';

const MOST_OF_ONE = 99;

@Controller('cart')
export class CartController {
  @Get()
  @Render('cart')
  show(@Session('cart') cart: { items: CartItem[] } | undefined) {
    const items = cart?.items ?? [];
    const total = items.reduce((sum, { price, quantity }) => sum + price * quantity, 0);
    return {
      title: 'Cart',
      products: products.map((product) => ({ ...product, price: formatPrice(product.price) })),
      items: items.map((item) => ({
        ...item,
        name: productOf(item.product).name,
        price: formatPrice(item.price * item.quantity),
      })),
      total: formatPrice(total),
    };
  }

  @Post('items')
  @Redirect('/cart', 303)
  add(@Session() session: Session, @Body('product') id: string) {
    const product = productOf(id);
    const cart = session.setDefault('cart', { items: [] });
    const item = cart.items.find((candidate) => candidate.product === id);
    // Both change an object deep inside the session, and both are saved.
    if (item) item.quantity = Math.min(item.quantity + 1, MOST_OF_ONE);
    else cart.items.push({ product: id, price: product.price, quantity: 1 });
    session.addFlash('success', `${product.name} is in your cart.`);
  }

  @Post('items/:id/quantity')
  @Redirect('/cart', 303)
  changeQuantity(
    @Session() session: Session,
    @Param('id') id: string,
    @Body('quantity', ParseIntPipe) quantity: number,
  ) {
    const item = session.cart?.items.find((candidate) => candidate.product === id);
    if (!item) return;
    item.quantity = Math.max(1, Math.min(quantity, MOST_OF_ONE));
    session.addFlash('success', `${productOf(id).name}: ${item.quantity} now.`);
  }

  @Post('items/:id/remove')
  @Redirect('/cart', 303)
  remove(@Session() session: Session, @Param('id') id: string) {
    const { cart } = session;
    if (!cart) return;
    cart.items = cart.items.filter((item) => item.product !== id);
    if (cart.items.length === 0) delete session.cart;
    session.addFlash('success', `${productOf(id).name} is out of your cart.`);
  }
}

function productOf(id: string): Product {
  const product = products.find((candidate) => candidate.id === id);
  if (!product) throw new NotFoundException();
  return product;
}
