import { type Logger } from '@nestjs/common';
import { type SessionEventListener } from '../session/session-events.js';

/** Logs the events that somebody should look into. The others are too many for a log that nobody asked for. */
export function logEvents(logger: Logger): SessionEventListener {
  return (event) => {
    if (event.type === 'corrupt') logger.error(event.error.message);
    if (event.type === 'touch-failed') {
      logger.warn(`The idle clock of session ${event.sessionId} could not be restarted: ${event.problem}`);
    }
    if (event.type === 'write-after-end') {
      logger.warn(
        `Session ${event.sessionId} ended while a request was changing it; the changes were dropped.`,
      );
    }
  };
}
