import { type Session } from 'nest-sessions';

interface Order {
  placedAt: Date;
}

declare module 'nest-sessions' {
  interface SessionData {
    name: string;
    seenAt: Date;
    order?: Order | null;
  }
}

/** A declaration cannot be refused where it stands. So its wrong properties can be given nothing, and the others work. */
export function visit(session: Session, order: Order): void {
  session.name = 'ada';
  session.order = null;
  // @ts-expect-error a session cannot hold a Date
  session.seenAt = new Date();
  // @ts-expect-error a session cannot hold a Date
  session.set('seenAt', new Date());
  // @ts-expect-error a session cannot hold a Date
  session.seenAt?.getTime();
  // @ts-expect-error a session cannot hold a Date
  session.order = order;
  // @ts-expect-error a session cannot hold a Date
  session.update({ order });
}
