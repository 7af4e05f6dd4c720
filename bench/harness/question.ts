/** One bench file asks one question. All values are costs (time or bytes): smaller is better. */
export interface Question {
  readonly name: string;
  readonly asks: string;
  readonly metrics: readonly Metric[];
  /** By name; `agentmesh` is ours. Each run happens in a process of its own. */
  readonly contestants: Readonly<Record<string, Contestant>>;
  /** Must be slower than ours by `by` (median of ratios) in this metric, else the bench has lost its teeth and fails. */
  readonly control: {
    readonly contestant: string;
    readonly metric: string;
    readonly by: number;
    readonly why: string;
  };
  readonly goals: readonly Goal[];
  /** Rounds unless asked for otherwise. @default 5 */
  readonly rounds?: number;
}

export interface Metric {
  readonly name: string;
  readonly unit: 'ns' | 'µs' | 'ms' | 's' | 'B' | 'MiB' | '×' | 'count';
}

export interface Contestant {
  /** What it lacks or has more than ours. */
  readonly note?: string;
  /** One whole run, in a fresh process: a value for each metric that it can answer. */
  run(scale: Scale): Promise<Readonly<Record<string, number>>>;
}

/** How large a run is: 1 for the real thing, less for a try. */
export interface Scale {
  /** `n` scaled, at least 1. */
  of(n: number): number;
  /** Seconds of a run that is measured by the clock. */
  readonly seconds: number;
}

export type Goal = {
  /** As `performance.md` words it. */
  readonly text: string;
  readonly metric: string;
  /** Whose value is judged. @default agentmesh */
  readonly of?: string;
} & (
  | { /** ours / theirs is at most this. */ readonly versus: string; readonly atMost: number }
  | { /** The value itself is at most this. */ readonly value: number }
  | {
      /** The value divided by another metric of the same run is at most this. */ readonly over: string;
      readonly atMost: number;
    }
);

/** Checks a question's shape once, where it is written. */
export function defineQuestion(question: Question): Question {
  return question;
}
