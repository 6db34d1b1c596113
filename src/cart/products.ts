export interface Product {
  id: string;
  name: string;
  /** Cents. */
  price: number;
}

export const products: readonly Product[] = [
  { id: 'tea', name: 'Green tea', price: 450 },
  { id: 'mug', name: 'Enamel mug', price: 1290 },
  { id: 'notebook', name: 'Notebook', price: 690 },
  { id: 'lamp', name: 'Desk lamp', price: 3900 },
];
