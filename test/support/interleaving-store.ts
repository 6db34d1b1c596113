import { AsyncLocalStorage } from 'node:async_hooks';
import { SessionStore } from 'nest-sessions';
import { takeStep } from './interleaving.js';

const past = new AsyncLocalStorage<number>();

/** Runs `work` so many milliseconds ago, as far as the sessions know. */
export function ago<Result>(milliseconds: number, work: () => Promise<Result>): Promise<Result> {
  return past.run(milliseconds, work);
}

type Given<Operation extends keyof SessionStore> = SessionStore[Operation] extends (
  ...given: infer Arguments
) => unknown
  ? Arguments
  : never;

/** Hands every operation on to another store, each a step of the request that asks for it. */
export class SteppedStore extends SessionStore {
  /** @param inSteps false: the store below takes smaller steps itself */
  constructor(
    private readonly store: SessionStore,
    private readonly inSteps = true,
  ) {
    super();
  }

  load(...given: Given<'load'>): ReturnType<SessionStore['load']> {
    return this.step('load', [given[0]], () => this.store.load(...given));
  }

  create(...given: Given<'create'>): Promise<boolean> {
    return this.step('create', [given[0]], () => this.store.create(...given));
  }

  save(...given: Given<'save'>): Promise<boolean> {
    return this.step('save', [given[0]], () => this.store.save(...given));
  }

  delete(...given: Given<'delete'>): Promise<boolean> {
    return this.step('delete', [given[0]], () => this.store.delete(...given));
  }

  override take(...given: Given<'take'>): ReturnType<SessionStore['take']> {
    return this.step('take', [given[0]], () => this.store.take(...given));
  }

  override touch(...given: Given<'touch'>): Promise<boolean> {
    return this.step('touch', [given[0]], () => this.store.touch(...given));
  }

  override listByUser(...given: Given<'listByUser'>): ReturnType<SessionStore['listByUser']> {
    return this.step('listByUser', [], () => this.store.listByUser(...given));
  }

  override deleteByUser(...given: Given<'deleteByUser'>): Promise<number> {
    return this.step('deleteByUser', [], () => this.store.deleteByUser(...given));
  }

  override now(): number {
    return this.store.now() - (past.getStore() ?? 0);
  }

  private step<Result>(name: string, ids: string[], work: () => Promise<Result>): Promise<Result> {
    return this.inSteps ? takeStep({ name, ids }, work) : work();
  }
}
