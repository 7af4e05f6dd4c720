import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { loadavg } from 'node:os';
import { fileURLToPath } from 'node:url';
import { type Spread, spread } from '../../harness/statistics.ts';
import type { Place } from '../systems/system.ts';
import type { DurableQuestion, Setting } from './question.ts';
import type { BenchServer } from './servers.ts';

export type Values = Readonly<Record<string, number>>;

export interface Measured {
  readonly question: DurableQuestion;
  readonly setting: Setting;
  /** Contestant → one entry a round. */
  readonly values: Readonly<Record<string, readonly Values[]>>;
  readonly load: readonly number[];
  readonly ms: number;
}

export interface Plan {
  readonly rounds: number;
  readonly size: number;
}

/** Longest run of one contestant, ms: one that hangs has lost something. */
const LONGEST_MS = 900_000;

/** Runs every contestant once a round, in turns, each in a process of its own on an empty server; every other round in reverse. */
export async function measure(
  question: DurableQuestion,
  setting: Setting,
  server: BenchServer,
  plan: Plan,
): Promise<Measured> {
  const from = performance.now();
  const load = [loadavg()[0] ?? 0];
  const names = Object.keys(question.contestants(setting));
  const values: Record<string, Values[]> = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = 0; round < plan.rounds; round++) {
    for (const name of round % 2 === 0 ? names : names.toReversed())
      values[name]?.push(
        await runOnce({ question: question.name, setting, contestant: name, size: plan.size }, server),
      );
    load.push(loadavg()[0] ?? 0);
  }
  return { question, setting, values, load, ms: performance.now() - from };
}

/** What a child process is told, as JSON in its first argument. */
export interface RunOrder {
  readonly question: string;
  readonly setting: Setting;
  readonly contestant: string;
  readonly size: number;
  readonly place: Place;
}

const CHILD = fileURLToPath(new URL('../child.ts', import.meta.url));

async function runOnce(order: Omit<RunOrder, 'place'>, server: BenchServer): Promise<Values> {
  const text = JSON.stringify({ ...order, place: await server.fresh() } satisfies RunOrder);
  const child = spawn(process.execPath, ['--max-old-space-size=8192', CHILD, text], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), LONGEST_MS);
  let out = '';
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString('utf8');
  });
  const [code] = (await once(child, 'close')) as [number | null];
  clearTimeout(timer);
  if (code !== 0)
    throw new Error(
      `${order.contestant} of ${order.question} on ${order.setting} ended with exit code ${code}`,
    );
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
export function ratioOf(measured: Measured, metric: string, left: string, right: string): Spread | undefined {
  const rights = measured.values[right] ?? [];
  const ratios = (measured.values[left] ?? []).flatMap((round, i) => {
    const a = round[metric];
    const b = rights[i]?.[metric];
    return a === undefined || b === undefined ? [] : [a / b];
  });
  return ratios.length === 0 ? undefined : spread(ratios);
}
