import type { Histogram } from './histogram.ts';
import type { GaugeSeries, HistogramSeries, MetricRegistry } from './metric-registry.ts';

/** Content type of {@link renderPrometheus}. */
export const PROMETHEUS_CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

type Labels = Readonly<Record<string, string>>;

/** Bounds of the exported buckets, ms: powers of two, where the histogram is exact. 62.5 µs … 17.5 min. */
const BOUNDS_MS: readonly number[] = Array.from({ length: 13 }, (_, i) => 2 ** (2 * i - 4));

/** The text exposition format of Prometheus: seconds and ratios as base units. */
export function renderPrometheus(registry: MetricRegistry): string {
  const lines: string[] = [];
  for (const { name, help, labels, series } of registry.counters) {
    head(lines, name, help, 'counter');
    for (const { labels: values, value } of series) lines.push(line(name, zip(labels, values), value));
    if (labels.length === 0 && series.length === 0) lines.push(line(name, {}, 0));
  }
  for (const [name, all] of Map.groupBy(registry.histograms, (each) => each.name)) {
    head(lines, name, (all[0] as HistogramSeries).help, 'histogram');
    for (const { labels, histogram } of all) pushHistogram(lines, name, labels, histogram);
  }
  for (const { name, help, read } of registry.gauges) {
    const series: readonly GaugeSeries[] = [...read()];
    if (series.length === 0) continue;
    head(lines, name, help, 'gauge');
    for (const { labels, value } of series) lines.push(line(name, labels, value));
  }
  head(
    lines,
    'agentmesh_series_dropped_total',
    'Counted under __other__ because a bound of series was reached.',
    'counter',
  );
  lines.push(line('agentmesh_series_dropped_total', {}, registry.limits.dropped), '');
  return lines.join('\n');
}

function pushHistogram(lines: string[], name: string, labels: Labels, histogram: Histogram): void {
  for (const bound of BOUNDS_MS) {
    lines.push(line(`${name}_bucket`, { ...labels, le: String(bound / 1_000) }, histogram.countUpTo(bound)));
  }
  lines.push(
    line(`${name}_bucket`, { ...labels, le: '+Inf' }, histogram.count),
    line(`${name}_sum`, labels, histogram.sum / 1_000),
    line(`${name}_count`, labels, histogram.count),
  );
}

function head(lines: string[], name: string, help: string, type: string): void {
  lines.push(`# HELP ${name} ${escape(help)}`, `# TYPE ${name} ${type}`);
}

function line(name: string, labels: Labels, value: number): string {
  // A label without value means the same as none.
  const known = Object.entries(labels).filter(([, text]) => text !== '');
  const list = known.map(([label, text]) => `${label}="${escape(text).replaceAll('"', '\\"')}"`).join(',');
  return `${name}${list === '' ? '' : `{${list}}`} ${number(value)}`;
}

function number(value: number): string {
  if (Number.isFinite(value)) return String(value);
  return Number.isNaN(value) ? 'NaN' : value > 0 ? '+Inf' : '-Inf';
}

function escape(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}

function zip(labels: readonly string[], values: readonly string[]): Labels {
  return Object.fromEntries(labels.map((label, i) => [label, values[i] ?? '']));
}
