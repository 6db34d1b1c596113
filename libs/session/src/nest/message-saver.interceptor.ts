import { AsyncLocalStorage } from 'node:async_hooks';
import { type CallHandler, type ExecutionContext, type NestInterceptor } from '@nestjs/common';
import { catchError, concat, concatMap, defer, ignoreElements, map, Observable, takeWhile } from 'rxjs';
import { type MessageSession } from '../http/socket-session.js';
import { Deadlines } from '../stores/deadlines.js';
import { isFailure, toWsException } from './gateway-errors.js';
import { knownMessage, knownOperation } from './sockets.js';
import { untilEnded } from './until-ended.js';

/** The session for the parameters of a gateway's handler: Nest makes them without what guards and interceptors get. */
export const currentMessage = new AsyncLocalStorage<MessageSession>();

/**
 * Saves the session before the answer to a message leaves, be it an acknowledgement, each value of a stream, or the
 * result of a GraphQL operation over a socket. After a failure only an end of the session reaches the store.
 *
 * What comes by HTTP passes: there the response waits.
 */
export const messageSaver: NestInterceptor = {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const isGateway = context.getType() === 'ws';
    const args = context.getArgs();
    const message = isGateway ? knownMessage(args) : knownOperation(args);
    if (!message) return next.handle();
    if (!isGateway) {
      return saved(next.handle(), message).pipe(map((answer) => untilEnded(answer, message.ended)));
    }
    const answers = saved(
      currentMessage.run(message, () => next.handle()),
      message,
    ).pipe(
      catchError(async (error: unknown) => {
        throw isFailure(error) ? await toWsException(error) : error;
      }),
    );
    return finishing(concat(answers, defer(async () => message.close()).pipe(ignoreElements())), message);
  },
};

type Resolver = (...args: unknown[]) => Promise<unknown>;

/**
 * As `messageSaver`, for a field below the top level of GraphQL, which Nest calls without interceptors by default. The result
 * of an operation waits for all of its fields, so what is saved before the field has a value is saved before the result.
 */
export function savingField(resolve: Resolver): Resolver {
  return async (...args) => {
    try {
      const value = await resolve(...args);
      await knownOperation(args)?.save();
      return value;
    } catch (error) {
      await knownOperation(args)?.drop();
      throw error;
    }
  };
}

function saved(answers: Observable<unknown>, message: MessageSession): Observable<unknown> {
  const save = (): Promise<void> => message.save();
  return concat(
    answers.pipe(concatMap((answer) => save().then(() => answer))),
    defer(save).pipe(ignoreElements()),
  ).pipe(
    catchError(async (error: unknown) => {
      await message.drop();
      throw error;
    }),
  );
}

/** For so long after its client has left, a handler may go on. Milliseconds. */
const FINISHES_WITHIN = 30_000;
const leftAlone = new Deadlines(1000);

/**
 * What a handler has begun is saved, though its client leaves before it has the answer. Nest shows nobody whether it was a
 * promise or a stream that has not emitted yet, and a stream may go on forever: so both have the same time.
 */
function finishing<Answer>(answers: Observable<Answer>, message: MessageSession): Observable<Answer> {
  return new Observable((client) => {
    let answered = false;
    const work = answers.pipe(takeWhile(() => !client.closed, true)).subscribe({
      next: (answer) => {
        answered = true;
        client.next(answer);
      },
      error: (error: unknown) => {
        answered = true;
        client.error(error);
      },
      complete: () => {
        answered = true;
        client.complete();
      },
    });
    return () => {
      if (answered) return work.unsubscribe();
      const deadline = leftAlone.set(performance.now() + FINISHES_WITHIN, () => {
        work.unsubscribe();
        message.abandon();
      });
      work.add(() => leftAlone.done(deadline));
    };
  });
}
