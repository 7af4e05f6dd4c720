import { checkInteger, checkNumber } from '../../core/check.ts';
import type { Random } from '../../core/ports/runtime.ts';
import type {
  Candidate,
  CandidatePool,
  Explanation,
  Outcome,
  PlacedTask,
  SchedulingStrategy,
  StrategyContext,
} from '../strategy.ts';
import { candidatePool } from '../strategy-candidates.ts';
import { type Arm, belief, doubt, learn, newArm, TRIALS } from './arm.ts';
import { explained } from './explanation.ts';
import { shortlist } from './shortlist.ts';

export interface LearningOptions {
  /** How much a slow agent is marked down: at 1 an agent that takes twice as long as the fastest counts half, at 0 speed is ignored. @default 0.3 */
  readonly speed?: number | undefined;
  /** One task of so many goes to the agent that was tried longest ago, so that one that got better is found. @default 64 */
  readonly probeEvery?: number | undefined;
  /** Agents that are compared for one task; in larger pools they take turns, beside the best known. @default 12 */
  readonly sample?: number | undefined;
  /** Pairs of type and agent it remembers; whole types, the longest unused first, are forgotten. @default 1,000 */
  readonly historySize?: number | undefined;
}

interface Favourite {
  readonly id: string;
  readonly worth: number;
}

interface TypeMemory {
  /** Outcomes seen. */
  now: number;
  readonly arms: Map<string, Arm>;
  /** The best known, best first, with their worth when they last ran; compared for every task in pools that are sampled. */
  favourites: Favourite[];
}

type LearningState = {
  readonly last: string | null;
  readonly types: readonly {
    readonly type: string;
    readonly now: number;
    readonly arms: readonly (readonly [agentId: string, arm: Arm])[];
    readonly favourites: readonly Favourite[];
  }[];
};

const FAVOURITES = 4;
const NONE: readonly Favourite[] = [];

/**
 * Learns for each type of task which agents succeed, and how fast: Thompson sampling (Thompson 1933) over Beta beliefs in their normal
 * approximation, marked down for slowness. It keeps up with change: old evidence fades, an agent that becomes worse sets its type back
 * to trying, and now and then the one tried longest ago gets a task. The same seed and history give the same choices.
 */
export class LearningSchedulingStrategy implements SchedulingStrategy<LearningState> {
  readonly name: string = 'learning';
  readonly #speed: number;
  readonly #probeEvery: number;
  readonly #sample: number;
  readonly #size: number;
  /** In order of use. */
  readonly #types = new Map<string, TypeMemory>();
  readonly #scratch: Candidate[] = [];
  #pairs = 0;
  #last: string | undefined;

  constructor(options: LearningOptions = {}) {
    this.#speed = checkNumber(options.speed ?? 0.3, 'speed of learning', 0, 1);
    this.#probeEvery = checkInteger(options.probeEvery ?? 64, 'probeEvery of learning', 2);
    this.#sample = checkInteger(options.sample ?? 12, 'sample of learning', 1);
    this.#size = checkInteger(options.historySize ?? 1_000, 'historySize of learning', 1);
  }

  select(task: PlacedTask, candidates: readonly Candidate[], context: StrategyContext): string | undefined {
    return this.selectFrom(task, candidatePool(candidates), context);
  }

  selectFrom(task: PlacedTask, pool: CandidatePool, context: StrategyContext): string | undefined {
    const compared = this.#compared(task, pool);
    const chosen = this.#choose(task, compared, context.random)?.candidate;
    if (chosen === undefined) return undefined;
    this.#last = compared.length > this.#sample ? compared[this.#sample - 1]?.id : chosen.id;
    return chosen.id;
  }

  explain(task: PlacedTask, pool: CandidatePool, context: StrategyContext): Explanation | undefined {
    const memory = this.#types.get(task.type);
    const compared = this.#compared(task, pool);
    const choice = this.#choose(task, compared, context.random);
    if (choice === undefined) return undefined;
    const { candidate, why } = choice;
    const runs = Math.round(memory?.arms.get(candidate.id)?.runs ?? 0);
    const fastest = fastestOf(compared, memory);
    const worth = ({ id }: Candidate): number => this.#worth(memory, memory?.arms.get(id), fastest);
    const mean = Math.round(worth(candidate) * 100);
    const reason = `${why}: worth ${mean} % after ${runs} runs of ${task.type} that count`;
    return explained(candidate, reason, compared, (a, b) => worth(b) - worth(a));
  }

  observe(outcome: Outcome): void {
    const memory = this.#memory(outcome.type);
    let arm = memory.arms.get(outcome.agentId);
    if (arm === undefined) {
      memory.arms.set(outcome.agentId, (arm = newArm()));
      this.#pairs += 1;
      this.#forget(memory);
    }
    memory.now += 1;
    const ms =
      outcome.durationMs >= 0 && outcome.durationMs < Number.POSITIVE_INFINITY ? outcome.durationMs : 0;
    if (learn(arm, outcome.ok, ms, memory.now, memory.arms.size)) {
      for (const each of memory.arms.values()) doubt(each);
    }
    this.#rank(memory, outcome.agentId, arm);
  }

  snapshot(): LearningState {
    const types = [...this.#types].map(([type, { now, arms, favourites }]) => ({
      type,
      now,
      arms: [...arms].map(([id, arm]) => [id, { ...arm }] as const),
      favourites: [...favourites],
    }));
    return { last: this.#last ?? null, types };
  }

  restore(state: LearningState): void {
    this.#last = state.last ?? undefined;
    this.#types.clear();
    this.#pairs = 0;
    for (const { type, now, arms, favourites } of state.types) {
      const memory = this.#memory(type);
      memory.now = now;
      memory.favourites = [...favourites];
      for (const [id, arm] of arms) {
        memory.arms.set(id, { ...arm });
        this.#pairs += 1;
      }
      this.#forget(memory);
    }
  }

  #compared(task: PlacedTask, pool: CandidatePool): readonly Candidate[] {
    const favourites = this.#types.get(task.type)?.favourites ?? NONE;
    return shortlist(pool, this.#sample, this.#last, favourites, this.#scratch);
  }

  #choose(
    task: PlacedTask,
    compared: readonly Candidate[],
    random: Random,
  ): { readonly candidate: Candidate; readonly why: string } | undefined {
    const memory = this.#types.get(task.type);
    // In a sampled pool there is always somebody new: there the draws decide whether a newcomer is worth a try.
    const untried = compared.length > this.#sample ? undefined : leastTried(compared, memory);
    if (untried !== undefined) return { candidate: untried, why: 'tried too rarely to tell' };
    if (random.next() * this.#probeEvery < 1) {
      const oldest = longestAgo(compared, memory);
      if (oldest !== undefined) return { candidate: oldest, why: 'tried longest ago' };
    }
    const best = this.#bestDraw(compared, memory, random);
    return best === undefined ? undefined : { candidate: best, why: 'best draw' };
  }

  #bestDraw(
    compared: readonly Candidate[],
    memory: TypeMemory | undefined,
    random: Random,
  ): Candidate | undefined {
    const fastest = fastestOf(compared, memory);
    let best: Candidate | undefined;
    let highest = Number.NEGATIVE_INFINITY;
    for (const candidate of compared) {
      const drawn = this.#worth(memory, memory?.arms.get(candidate.id), fastest, random);
      if (drawn <= highest) continue;
      highest = drawn;
      best = candidate;
    }
    return best;
  }

  /** Success ratio as believed, or one drawn from the belief, marked down for slowness. */
  #worth(memory: TypeMemory | undefined, arm: Arm | undefined, fastestMs: number, random?: Random): number {
    const { mean, deviation } = belief(arm, memory?.now ?? 0, memory?.arms.size ?? 0);
    const success = random === undefined ? mean : mean + deviation * normal(random);
    if (arm === undefined || arm.meanDurationMs <= fastestMs) return success;
    return success * (1 - this.#speed * (1 - fastestMs / arm.meanDurationMs));
  }

  /** The memory of a type, now the latest used. */
  #memory(type: string): TypeMemory {
    const memory = this.#types.get(type) ?? { now: 0, arms: new Map<string, Arm>(), favourites: [] };
    this.#types.delete(type);
    this.#types.set(type, memory);
    return memory;
  }

  /** Makes room: other types first, then the agents of this one that ran longest ago. */
  #forget(kept: TypeMemory): void {
    for (const [type, memory] of this.#types) {
      if (this.#pairs <= this.#size) return;
      if (memory === kept) continue;
      this.#types.delete(type);
      this.#pairs -= memory.arms.size;
    }
    while (this.#pairs > this.#size) {
      let oldest: string | undefined;
      let at = Number.POSITIVE_INFINITY;
      for (const [id, arm] of kept.arms) {
        if (arm.at > 0 && arm.at < at) [oldest, at] = [id, arm.at];
      }
      // None has run yet when the only one is the one that came just now.
      if (oldest === undefined) return;
      kept.arms.delete(oldest);
      kept.favourites = kept.favourites.filter(({ id }) => id !== oldest);
      this.#pairs -= 1;
    }
  }

  /** Keeps the best known in order; only larger pools need them. */
  #rank(memory: TypeMemory, id: string, arm: Arm): void {
    if (memory.arms.size <= this.#sample) return;
    const { favourites } = memory;
    const worth = this.#worth(memory, arm, Number.POSITIVE_INFINITY);
    const known = favourites.findIndex((favourite) => favourite.id === id);
    if (known >= 0) favourites.splice(known, 1);
    const place = favourites.findIndex((favourite) => favourite.worth < worth);
    favourites.splice(place < 0 ? favourites.length : place, 0, { id, worth });
    if (favourites.length > FAVOURITES) favourites.pop();
  }
}

/** The agent with the fewest runs that count and tasks under way, if that is below {@link TRIALS}. */
function leastTried(compared: readonly Candidate[], memory: TypeMemory | undefined): Candidate | undefined {
  let least: Candidate | undefined;
  let fewest = TRIALS;
  for (const candidate of compared) {
    const arm = memory?.arms.get(candidate.id);
    // The runs that count fade a little with each: 8 of them are never quite 8.
    const runs = Math.round(arm?.runs ?? 0) + candidate.running + candidate.queued;
    if (runs >= fewest || (arm !== undefined && arm.runs > TRIALS - 0.5)) continue;
    fewest = runs;
    least = candidate;
  }
  return least;
}

function longestAgo(compared: readonly Candidate[], memory: TypeMemory | undefined): Candidate | undefined {
  let oldest: Candidate | undefined;
  let at = Number.POSITIVE_INFINITY;
  for (const candidate of compared) {
    const ran = memory?.arms.get(candidate.id)?.at ?? 0;
    if (ran >= at) continue;
    at = ran;
    oldest = candidate;
  }
  return oldest;
}

/** The least mean duration among those compared that have one. */
function fastestOf(compared: readonly Candidate[], memory: TypeMemory | undefined): number {
  let fastest = Number.POSITIVE_INFINITY;
  for (const { id } of compared) {
    const ms = memory?.arms.get(id)?.meanDurationMs ?? 0;
    if (ms > 0 && ms < fastest) fastest = ms;
  }
  return fastest;
}

/** Mean 0, deviation 1, within ±3: the sum of three uniforms (Irwin–Hall). */
function normal(random: Random): number {
  return (random.next() + random.next() + random.next() - 1.5) * 2;
}

/** See {@link LearningSchedulingStrategy}. */
export function learning(options?: LearningOptions): LearningSchedulingStrategy {
  return new LearningSchedulingStrategy(options);
}
