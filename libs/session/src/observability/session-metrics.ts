// `import type` as a whole: `import { type … }` leaves an import of the package behind, and this one is optional.
import type { Counter, Histogram, Meter, ObservableCallback, ObservableGauge } from '@opentelemetry/api';
import { type SessionEvent, type SessionEventListener } from '../session/session-events.js';
import { type StoreObserver } from '../session/store-guard.js';
import { VERSION } from '../version.js';

/** In seconds. Those that OpenTelemetry recommends for calls of a database. */
const CALL_BUCKETS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10];
/** In seconds: from an empty store to an overdue one of millions of records. */
const SWEEP_BUCKETS = [0.01, 0.1, 1, 10, 60, 300, 1800];

/**
 * The instruments of OpenTelemetry. Every label takes its values from a list that is part of the program, so that their
 * number is known; no id, key or error message is ever one.
 */
export class SessionMetrics {
  private readonly events: Counter;
  private readonly storeDuration: Histogram;
  private readonly sweepDuration: Histogram;
  private readonly sweepCleared: Counter;
  private readonly sweepLag: ObservableGauge;

  /** @param sweptAt when this process last finished a sweep, by `performance.now()` */
  constructor(
    meter: Meter,
    private readonly sweptAt: () => number | undefined,
  ) {
    this.events = meter.createCounter('nest_sessions.events', {
      description: 'Events in the life of sessions.',
      unit: '{event}',
    });
    this.storeDuration = meter.createHistogram('nest_sessions.store.operation.duration', {
      description: 'How long the calls of the session store took.',
      unit: 's',
      advice: { explicitBucketBoundaries: CALL_BUCKETS },
    });
    this.sweepDuration = meter.createHistogram('nest_sessions.sweep.duration', {
      description: 'How long the finished sweeps of expired sessions took.',
      unit: 's',
      advice: { explicitBucketBoundaries: SWEEP_BUCKETS },
    });
    this.sweepCleared = meter.createCounter('nest_sessions.sweep.cleared', {
      description: 'Expired sessions that sweeps have deleted.',
      unit: '{session}',
    });
    this.sweepLag = meter.createObservableGauge('nest_sessions.sweep.lag', {
      description: 'Time since this process last finished a sweep of expired sessions, or since its start.',
      unit: 's',
    });
    this.sweepLag.addCallback(this.observeLag);
  }

  readonly countEvent: SessionEventListener = (event) => {
    this.events.add(1, labelsOf(event));
    if (event.type !== 'cleared') return;
    this.sweepDuration.record(event.duration / 1000);
    this.sweepCleared.add(event.count);
  };

  readonly observeStore: StoreObserver = (operation, outcome, duration) => {
    this.storeDuration.record(duration / 1000, {
      'nest_sessions.store.operation': operation,
      'nest_sessions.store.outcome': outcome,
    });
  };

  /** The meter outlives the application, and would go on to report its lag. */
  close(): void {
    this.sweepLag.removeCallback(this.observeLag);
  }

  private readonly observeLag: ObservableCallback = (gauge) => {
    const sweptAt = this.sweptAt();
    if (sweptAt !== undefined) gauge.observe((performance.now() - sweptAt) / 1000);
  };
}

/** Undefined where nobody would read them: without the package, or when no SDK was registered before. */
export async function openMetrics(sweptAt: () => number | undefined): Promise<SessionMetrics | undefined> {
  try {
    const { createNoopMeter, metrics } = await import('@opentelemetry/api');
    const meter = metrics.getMeter('nest-sessions', VERSION);
    return meter === createNoopMeter() ? undefined : new SessionMetrics(meter, sweptAt);
  } catch {
    return undefined; // not installed
  }
}

function labelsOf(event: SessionEvent): Record<string, string> {
  return {
    'nest_sessions.event.type': event.type,
    ...('reason' in event && { 'nest_sessions.event.reason': event.reason }),
  };
}
