import { metrics } from '@opentelemetry/api';
import { type DataPoint, type Histogram, MeterProvider, MetricReader } from '@opentelemetry/sdk-metrics';

type Label = string;
type Point = DataPoint<number | Histogram>;

class Reader extends MetricReader {
  protected onForceFlush = () => Promise.resolve();
  protected onShutdown = () => Promise.resolve();
}

/** The SDK of OpenTelemetry, registered for the whole process from its making on. */
export class RecordedMetrics {
  private readonly reader = new Reader();
  private readonly provider = new MeterProvider({ readers: [this.reader] });

  constructor() {
    metrics.setGlobalMeterProvider(this.provider);
  }

  /** One line per series of an instrument of this library: its labels in the order of their names, and its value. */
  async series(instrument: string): Promise<Map<Label, number>> {
    const points = (await this.instruments()).get(instrument)?.points ?? [];
    return new Map(points.map((point) => [labelOf(point), valueOf(point)]));
  }

  /** Every instrument of this library that has something to tell, by its name. */
  async instruments(): Promise<Map<string, { unit: string; points: Point[] }>> {
    const { resourceMetrics } = await this.reader.collect();
    const scopes = resourceMetrics.scopeMetrics.filter(({ scope }) => scope.name === 'nest-sessions');
    return new Map(
      scopes
        .flatMap((scope) => scope.metrics)
        .filter(({ dataPoints }) => dataPoints.length > 0)
        .map(({ descriptor, dataPoints }) => [
          descriptor.name,
          { unit: descriptor.unit, points: dataPoints as Point[] },
        ]),
    );
  }

  async stop(): Promise<void> {
    metrics.disable();
    await this.provider.shutdown();
  }
}

function labelOf({ attributes }: Point): Label {
  const names = Object.keys(attributes).toSorted();
  return names.map((name) => String(attributes[name])).join(' ');
}

/** Of a histogram: how many values it has taken. */
function valueOf({ value }: Point): number {
  return typeof value === 'number' ? value : value.count;
}
