import type { Spread } from '../../harness/statistics.ts';
import { type Goal, type Metric, SETTINGS } from './question.ts';
import { type Measured, ratioOf, spreadOf } from './rounds.ts';

export const OURS = 'agentmesh';

export interface Verdict {
  readonly goal: string;
  readonly met: boolean;
  /** Ratios, or values where the goal is one. */
  readonly measured: Spread | undefined;
  readonly wanted: string;
}

/** Judges by the median, and by the floor of all rounds where the goal has one. */
export function judge(measured: Measured, goal: Goal): Verdict {
  const of = goal.of ?? OURS;
  const found =
    'value' in goal ? spreadOf(measured, of, goal.metric) : ratioOf(measured, goal.metric, of, goal.versus);
  const limit = 'value' in goal ? goal.value : goal;
  const floor = 'floor' in goal ? goal.floor : undefined;
  if ('atMost' in limit)
    return verdict(goal, found, found !== undefined && found.median <= limit.atMost, `≤ ${limit.atMost}`);
  const met =
    found !== undefined && found.median >= limit.atLeast && (floor === undefined || found.min >= floor);
  return verdict(
    goal,
    found,
    met,
    `≥ ${limit.atLeast}${floor === undefined ? '' : `, each round ≥ ${floor}`}`,
  );
}

function verdict(goal: Goal, measured: Spread | undefined, met: boolean, wanted: string): Verdict {
  return { goal: goal.text, met, measured, wanted };
}

/** Whether the control lost, as it must: how many times better ours is. */
export function controlLost(measured: Measured): {
  readonly lost: boolean;
  readonly ratio: Spread | undefined;
} {
  const { contestant, metric, by } = measured.question.control;
  const { better } = measured.question.metrics.find(({ name }) => name === metric) ?? {};
  const [left, right] = better === 'lower' ? [contestant, OURS] : [OURS, contestant];
  const ratio = ratioOf(measured, metric, left, right);
  return { lost: ratio !== undefined && ratio.median >= by, ratio };
}

export function tableOf(measured: Measured): string {
  const { question, setting, values, load, ms } = measured;
  const contestants = question.contestants(setting);
  const lines = [`\n${question.name}: ${question.asks}`, `  ${SETTINGS[setting]}`];
  for (const metric of question.metrics) {
    lines.push(`  ${metric.name} (${metric.unit}, ${metric.better} is better)`);
    for (const name of Object.keys(contestants)) {
      const found = spreadOf(measured, name, metric.name);
      if (found === undefined) continue;
      const ratio = name === OURS ? undefined : ratioOf(measured, metric.name, OURS, name);
      const beside =
        ratio === undefined
          ? ''
          : `  ours/this ${number(ratio.median)} (${number(ratio.min)}–${number(ratio.max)})`;
      const note = contestants[name]?.note;
      lines.push(
        `    ${name.padEnd(26)} ${text(found, metric)}${beside.padEnd(36)}${note === undefined ? '' : `  ${note}`}`,
      );
    }
  }
  for (const goal of question.goals(setting)) {
    const { met, measured: found, wanted } = judge(measured, goal);
    const got =
      found === undefined ? 'nothing measured' : `${number(found.median)}, floor ${number(found.min)}`;
    lines.push(`  ${met ? 'met    ' : 'NOT MET'} ${goal.text}: ${got} (wanted ${wanted})`);
  }
  const control = controlLost(measured);
  lines.push(
    `  control ${control.lost ? 'lost, as it must' : 'DID NOT LOSE'}: ${question.control.contestant}, ${question.control.why}: ours is ${control.ratio === undefined ? '?' : number(control.ratio.median)} times better (at least ${question.control.by})`,
  );
  const rounds = Object.values(values)[0]?.length ?? 0;
  lines.push(
    `  ${rounds} rounds in ${(ms / 1_000).toFixed(0)} s, load average ${load.map((at) => at.toFixed(1)).join(' ')}`,
  );
  return lines.join('\n');
}

export function jsonOf(measured: Measured): object {
  const { question, setting, load, ms, values } = measured;
  const contestants = question.contestants(setting);
  return {
    name: question.name,
    asks: question.asks,
    setting,
    durability: SETTINGS[setting],
    metrics: question.metrics.map((metric) => ({
      ...metric,
      contestants: Object.keys(contestants).flatMap((name) => {
        const found = spreadOf(measured, name, metric.name);
        if (found === undefined) return [];
        const ours = ratioOf(measured, metric.name, OURS, name);
        return [{ name, ...found, ours, note: contestants[name]?.note }];
      }),
    })),
    rounds: values,
    goals: question.goals(setting).map((goal) => judge(measured, goal)),
    control: { ...question.control, ...controlLost(measured) },
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
  return Math.abs(value) >= 1_000 ? Math.round(value).toLocaleString('en-US') : value.toPrecision(3);
}
