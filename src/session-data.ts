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
    /** What was typed as the name in a login that failed, for the form that comes next. */
    triedName: string;
  }
}
