import { SessionConfigError } from '../session.errors.js';
import { parseDuration } from '../session/expiry.js';
import { type ParsedOptions } from './options-schema.js';

/** Node keeps timer delays in 32 bits; a longer one would fire at once. */
const LONGEST_TIMER = 2 ** 31 - 1;

export interface ClearingPlan {
  schedule: { cron: string } | { every: number };
  /** Milliseconds. */
  jitter: number;
  batchSize: number;
}

/** @throws SessionConfigError */
export function resolveClearing(clearExpired: ParsedOptions['clearExpired']): false | ClearingPlan {
  if (clearExpired === false) return false;
  checkJitter(clearExpired.jitter);
  return { ...clearExpired, schedule: resolveSchedule(clearExpired.schedule) };
}

function resolveSchedule(schedule: string | number): { cron: string } | { every: number } {
  const every = parseDuration(schedule);
  if (every === undefined && typeof schedule === 'string' && /^\S+(\s+\S+){4,5}$/.test(schedule.trim())) {
    return { cron: schedule.trim() };
  }
  if (every === undefined || every <= 0) {
    throw new SessionConfigError(
      'clearExpired.schedule',
      `must be a cron expression or a duration such as '1d', but is ${JSON.stringify(schedule)}. Use false for none.`,
    );
  }
  if (every > LONGEST_TIMER) {
    throw new SessionConfigError(
      'clearExpired.schedule',
      'is an interval of more than 24 days. Use a cron expression.',
    );
  }
  return { every };
}

function checkJitter(jitter: number): void {
  if (jitter <= LONGEST_TIMER) return;
  throw new SessionConfigError('clearExpired.jitter', 'is more than 24 days. Give a part of the interval.');
}
