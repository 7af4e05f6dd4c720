import type { Place } from '../systems/system.ts';

/** Where a question is asked: the server and how it writes to disk. */
export type Setting = 'postgres' | 'redis-everysec' | 'redis-always';

export const SETTINGS: Readonly<Record<Setting, string>> = {
  postgres: 'PostgreSQL, on disk before each answer (fsync, synchronous_commit on)',
  'redis-everysec': 'Redis, append-only file written to disk every second',
  'redis-always': 'Redis, append-only file on disk before each answer',
};

/** One file asks one question. */
export interface DurableQuestion {
  readonly name: string;
  readonly asks: string;
  readonly settings: readonly Setting[];
  readonly metrics: readonly Metric[];
  contestants(setting: Setting): Readonly<Record<string, Contestant>>;
  goals(setting: Setting): readonly Goal[];
  readonly control: Control;
  /** Rounds unless asked for otherwise. @default 5 */
  readonly rounds?: number;
}

export interface Metric {
  readonly name: string;
  readonly unit: '/s' | 'ms' | 'µs' | 'B' | 'MiB' | '×';
  readonly better: 'higher' | 'lower';
}

export interface Contestant {
  readonly note?: string;
  /** One whole run in a fresh process, on an empty server: a value for each metric that it can answer. */
  run(place: Place, scale: Scale): Promise<Readonly<Record<string, number>>>;
}

export interface Scale {
  /** `n` scaled, at least `least`. */
  of(n: number, least?: number): number;
}

export interface Control {
  readonly contestant: string;
  readonly metric: string;
  /** How many times better ours must be, on the median. */
  readonly by: number;
  readonly why: string;
}

/** By the median of the ratios; of two values of one run, or a bare value. */
export type Goal = {
  readonly text: string;
  readonly metric: string;
  /** Whose. @default agentmesh */
  readonly of?: string;
} & (
  | { readonly versus: string; readonly atLeast: number /** In every round. */; readonly floor?: number }
  | { readonly versus: string; readonly atMost: number }
  | { readonly value: { readonly atLeast: number } | { readonly atMost: number } }
);

export function defineQuestion(question: DurableQuestion): DurableQuestion {
  return question;
}
