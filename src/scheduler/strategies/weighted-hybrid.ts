import { invalid, checkInteger, checkNumber } from '../../core/check.ts';
import type { Candidate, CandidatePool, Explanation, PlacedTask, SchedulingStrategy } from '../strategy.ts';
import { candidatePool } from '../strategy-candidates.ts';
import { explained } from './explanation.ts';
import { shortlist } from './shortlist.ts';

export interface WeightedHybridOptions {
  /** Weight of free capacity. @default 0.5 */
  readonly load?: number | undefined;
  /** Weight of the success ratio with tasks of this type. @default 0.25 */
  readonly success?: number | undefined;
  /** Weight of the speed with tasks of this type. @default 0.15 */
  readonly speed?: number | undefined;
  /** Weight of low cost. @default 0.1 */
  readonly cost?: number | undefined;
  /** Agents that are compared for one task; in larger pools they take turns. @default 12 */
  readonly sample?: number | undefined;
  /** Task types whose best agent is remembered. @default 1,000 */
  readonly historySize?: number | undefined;
}

type Weights = Readonly<Record<'load' | 'success' | 'speed' | 'cost', number>>;
/** What the others of a shortlist are measured by. */
type Best = { readonly durationMs: number; readonly cost: number };
type HybridState = {
  readonly last: string | null;
  readonly best: readonly (readonly [type: string, agentId: string])[];
};

/**
 * The agent with the highest weighted sum of free capacity, success and speed with tasks of this type, and low cost. Each part is 0…1:
 * speed and cost relative to the best of those compared, and 1 without history, so that newcomers are tried. Equals take turns.
 */
export class WeightedHybridSchedulingStrategy implements SchedulingStrategy<HybridState> {
  readonly name: string = 'weighted-hybrid';
  readonly #weights: Weights;
  readonly #sample: number;
  readonly #size: number;
  /** The last winner of each type, in order of use: it stays in the comparison in pools that are sampled. */
  readonly #best = new Map<string, string>();
  readonly #scratch: Candidate[] = [];
  #last: string | undefined;

  constructor(options: WeightedHybridOptions = {}) {
    this.#weights = checkWeights(options);
    this.#sample = checkInteger(options.sample ?? 12, 'sample of weighted-hybrid', 1);
    this.#size = checkInteger(options.historySize ?? 1_000, 'historySize of weighted-hybrid', 1);
  }

  select(task: PlacedTask, candidates: readonly Candidate[]): string | undefined {
    return this.selectFrom(task, candidatePool(candidates));
  }

  selectFrom(task: PlacedTask, pool: CandidatePool): string | undefined {
    const compared = this.#compared(task, pool);
    const chosen = this.#highest(compared, task.type);
    if (chosen === undefined) return undefined;
    // In a sampled pool the next comparison goes on where this one ended; in a small one equals take turns after the winner.
    const sampled = compared.length > this.#sample;
    this.#last = sampled ? compared[this.#sample - 1]?.id : chosen.id;
    if (sampled) this.#remember(task.type, chosen.id);
    return chosen.id;
  }

  explain(task: PlacedTask, pool: CandidatePool): Explanation | undefined {
    const compared = this.#compared(task, pool);
    const chosen = this.#highest(compared, task.type);
    if (chosen === undefined) return undefined;
    const best = bestOf(compared, task.type);
    const score = (candidate: Candidate): number => scoreOf(candidate, task.type, this.#weights, best);
    const { load, successRatio, speed, cost } = partsOf(chosen, task.type, best);
    const words = `free ${round(load)}, success ${round(successRatio)}, speed ${round(speed)}, cheapness ${round(cost)}`;
    return explained(
      chosen,
      `score ${round(score(chosen))} of ${compared.length} compared: ${words}`,
      compared,
      (a, b) => score(b) - score(a),
    );
  }

  snapshot(): HybridState {
    return { last: this.#last ?? null, best: [...this.#best] };
  }

  restore(state: HybridState): void {
    this.#last = state.last ?? undefined;
    this.#best.clear();
    for (const [type, agentId] of state.best) this.#remember(type, agentId);
  }

  #compared(task: PlacedTask, pool: CandidatePool): readonly Candidate[] {
    const best = this.#best.get(task.type);
    return shortlist(pool, this.#sample, this.#last, best === undefined ? [] : [{ id: best }], this.#scratch);
  }

  #highest(compared: readonly Candidate[], type: string): Candidate | undefined {
    const best = bestOf(compared, type);
    let winner: Candidate | undefined;
    let highest = Number.NEGATIVE_INFINITY;
    for (const candidate of compared) {
      const score = scoreOf(candidate, type, this.#weights, best);
      if (score <= highest) continue;
      highest = score;
      winner = candidate;
    }
    return winner;
  }

  #remember(type: string, agentId: string): void {
    this.#best.delete(type);
    this.#best.set(type, agentId);
    if (this.#best.size <= this.#size) return;
    const [oldest] = this.#best.keys();
    if (oldest !== undefined) this.#best.delete(oldest);
  }
}

function bestOf(compared: readonly Candidate[], type: string): Best {
  let durationMs = Number.POSITIVE_INFINITY;
  let cost = Number.POSITIVE_INFINITY;
  for (const candidate of compared) {
    const { runs, meanDurationMs } = candidate.history(type);
    if (runs > 0 && meanDurationMs < durationMs) durationMs = meanDurationMs;
    if (candidate.cost < cost) cost = candidate.cost;
  }
  return { durationMs, cost };
}

function partsOf(
  candidate: Candidate,
  type: string,
  best: Best,
): Record<'load' | 'successRatio' | 'speed' | 'cost', number> {
  const { runs, meanDurationMs, successRatio } = candidate.history(type);
  return {
    load: 1 - Math.min(1, candidate.load),
    successRatio,
    speed: runs === 0 || meanDurationMs <= best.durationMs ? 1 : best.durationMs / meanDurationMs,
    cost: candidate.cost <= best.cost ? 1 : Math.max(0, best.cost) / candidate.cost,
  };
}

function scoreOf(candidate: Candidate, type: string, weights: Weights, best: Best): number {
  const { load, successRatio, speed, cost } = partsOf(candidate, type, best);
  return weights.load * load + weights.success * successRatio + weights.speed * speed + weights.cost * cost;
}

function checkWeights(options: WeightedHybridOptions): Weights {
  const { load = 0.5, success = 0.25, speed = 0.15, cost = 0.1 } = options;
  const weights = { load, success, speed, cost };
  for (const [name, weight] of Object.entries(weights)) {
    checkNumber(weight, `the weight ${name} of weighted-hybrid`, 0);
  }
  if (load + success + speed + cost === 0)
    throw invalid('Expected a weight of weighted-hybrid to be above 0');
  return weights;
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

/** See {@link WeightedHybridSchedulingStrategy}. */
export function weightedHybrid(options?: WeightedHybridOptions): WeightedHybridSchedulingStrategy {
  return new WeightedHybridSchedulingStrategy(options);
}
