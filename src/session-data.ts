export interface CartItem {
  product: string;
  /** Cents. */
  price: number;
  quantity: number;
}

/** What this application keeps in its sessions. From here on `session.cart` and `session.get('cart')` have types. */
declare module 'nest-sessions' {
  interface SessionData {
    visits: number;
    cart: { items: CartItem[] };
  }
}
