import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { loadavg } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { Question } from './question.ts';
import { type Spread, spread } from './statistics.ts';

export type Values = Readonly<Record<string, number>>;

export interface Measured {
  readonly question: Question;
  /** Contestant → one entry a round. */
  readonly values: Readonly<Record<string, readonly Values[]>>;
  readonly load: readonly number[];
  readonly ms: number;
}

export interface Plan {
  readonly rounds: number;
  readonly size: number;
  readonly seconds: number;
}

/** Runs every contestant once a round, in turns, each in a process of its own; the order is reversed every other round. */
export async function measure(question: Question, plan: Plan): Promise<Measured> {
  const from = performance.now();
  const load = [loadavg()[0] ?? 0];
  const names = Object.keys(question.contestants);
  const values: Record<string, Values[]> = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = 0; round < plan.rounds; round++) {
    for (const name of round % 2 === 0 ? names : names.toReversed())
      values[name]?.push(await runOnce(question.name, name, plan));
    load.push(loadavg()[0] ?? 0);
  }
  return { question, values, load, ms: performance.now() - from };
}

const CHILD = fileURLToPath(new URL('child.ts', import.meta.url));

async function runOnce(question: string, contestant: string, plan: Plan): Promise<Values> {
  const child = spawn(
    process.execPath,
    [
      '--expose-gc',
      '--max-old-space-size=8192',
      CHILD,
      question,
      contestant,
      String(plan.size),
      String(plan.seconds),
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  let out = '';
  child.stdout.on('data', (text: Buffer) => {
    out += text.toString('utf8');
  });
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`${contestant} of ${question} ended with exit code ${code}`);
  return JSON.parse(out.trim().split('\n').at(-1) ?? '') as Values;
}

/** The values of one contestant in one metric; `undefined` when it has none. */
export function spreadOf(measured: Measured, contestant: string, metric: string): Spread | undefined {
  const found = (measured.values[contestant] ?? [])
    .map((round) => round[metric])
    .filter((value): value is number => value !== undefined);
  return found.length === 0 ? undefined : spread(found);
}

/** `left` divided by `right`, round by round, so that a slow moment of the machine hits both. */
export function ratioOf(
  measured: Measured,
  metric: string,
  left: { readonly contestant: string; readonly metric?: string },
  right: { readonly contestant: string; readonly metric?: string },
): Spread | undefined {
  const ratios: number[] = [];
  const rights = measured.values[right.contestant] ?? [];
  (measured.values[left.contestant] ?? []).forEach((round, i) => {
    const a = round[left.metric ?? metric];
    const b = rights[i]?.[right.metric ?? metric];
    if (a !== undefined && b !== undefined) ratios.push(a / b);
  });
  return ratios.length === 0 ? undefined : spread(ratios);
}
