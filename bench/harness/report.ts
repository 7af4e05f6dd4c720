import type { Goal, Metric } from './question.ts';
import { type Measured, ratioOf, spreadOf } from './rounds.ts';
import type { Spread } from './statistics.ts';

export const OURS = 'agentmesh';

export interface Verdict {
  readonly goal: string;
  readonly met: boolean;
  readonly measured: Spread | undefined;
  readonly limit: number;
}

/** Judges by the median. */
export function judge(measured: Measured, goal: Goal): Verdict {
  const of = goal.of ?? OURS;
  const found =
    'value' in goal
      ? spreadOf(measured, of, goal.metric)
      : 'versus' in goal
        ? ratioOf(measured, goal.metric, { contestant: of }, { contestant: goal.versus })
        : ratioOf(measured, goal.metric, { contestant: of }, { contestant: of, metric: goal.over });
  const limit = 'value' in goal ? goal.value : goal.atMost;
  return { goal: goal.text, met: found !== undefined && found.median <= limit, measured: found, limit };
}

/** Whether the control lost, as it must. */
export function controlLost(measured: Measured): {
  readonly lost: boolean;
  readonly ratio: Spread | undefined;
} {
  const { contestant, metric, by } = measured.question.control;
  const ratio = ratioOf(measured, metric, { contestant }, { contestant: OURS });
  return { lost: ratio !== undefined && ratio.median >= by, ratio };
}

export function tableOf(measured: Measured): string {
  const { question, values, load, ms } = measured;
  const lines = [`\n${question.name}: ${question.asks}`];
  for (const metric of question.metrics) {
    lines.push(`  ${metric.name} (${metric.unit})`);
    for (const name of Object.keys(question.contestants)) {
      const found = spreadOf(measured, name, metric.name);
      if (found === undefined) continue;
      const ratio =
        name === OURS
          ? undefined
          : ratioOf(measured, metric.name, { contestant: OURS }, { contestant: name });
      const note = question.contestants[name]?.note;
      lines.push(
        `    ${name.padEnd(26)} ${text(found, metric)}${ratio === undefined ? ''.padEnd(22) : `  ours/this ${number(ratio.median)}`.padEnd(22)}${note === undefined ? '' : `  ${note}`}`,
      );
    }
  }
  for (const goal of question.goals) {
    const verdict = judge(measured, goal);
    const median = verdict.measured === undefined ? 'nothing measured' : number(verdict.measured.median);
    lines.push(
      `  ${verdict.met ? 'met    ' : 'NOT MET'} ${goal.text}: ${median} (limit ${number(verdict.limit)})`,
    );
  }
  const control = controlLost(measured);
  lines.push(
    `  control ${control.lost ? 'lost, as it must' : 'DID NOT LOSE'}: ${question.control.contestant}, ${question.control.why}: ${control.ratio === undefined ? '?' : number(control.ratio.median)} times ours (at least ${question.control.by})`,
  );
  const rounds = Object.values(values)[0]?.length ?? 0;
  lines.push(
    `  ${rounds} rounds in ${(ms / 1_000).toFixed(0)} s, load average ${load.map((at) => at.toFixed(1)).join(' ')}`,
  );
  return lines.join('\n');
}

export function jsonOf(measured: Measured): object {
  const { question, load, ms } = measured;
  const control = controlLost(measured);
  return {
    name: question.name,
    asks: question.asks,
    metrics: question.metrics.map((metric) => ({
      ...metric,
      contestants: Object.keys(question.contestants).flatMap((name) => {
        const found = spreadOf(measured, name, metric.name);
        if (found === undefined) return [];
        const ratio = ratioOf(measured, metric.name, { contestant: OURS }, { contestant: name });
        return [{ name, ...found, ours: ratio, note: question.contestants[name]?.note }];
      }),
    })),
    goals: question.goals.map((goal) => judge(measured, goal)),
    control: { ...question.control, ...control },
    load,
    ms: Math.round(ms),
  };
}

function text(found: Spread, metric: Metric): string {
  const cells = [found.min, found.median, found.max].map((value) => number(value).padStart(9));
  return `min ${cells[0]}  median ${cells[1]}  max ${cells[2]} ${metric.unit}`;
}

function number(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  return size >= 1_000 ? Math.round(value).toLocaleString('en-US') : value.toPrecision(3);
}
