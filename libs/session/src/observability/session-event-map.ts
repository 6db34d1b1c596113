import { type SessionEvent } from '../session/session-events.js';

/** The events of one type: `SessionEventOf<'ended'>`. */
export type SessionEventOf<Type extends SessionEvent['type']> = Extract<SessionEvent, { type: Type }>;

/**
 * What the application's `EventEmitter2` emits: the payload of every event by its name.
 *
 * @example
 * ```ts
 * @OnEvent('session.ended')
 * onEnded(event: SessionEventMap['session.ended']) { … } // or SessionEventOf<'ended'>
 * ```
 */
export type SessionEventMap = {
  [Type in SessionEvent['type'] as `session.${Type}`]: SessionEventOf<Type>;
};
