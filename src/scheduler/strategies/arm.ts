/** What is believed of one agent with one type of task. Plain numbers, JSON-safe. */
export interface Arm {
  /** Weight of the successes seen; old ones fade. */
  successes: number;
  /** Weight of all runs seen. */
  runs: number;
  meanDurationMs: number;
  /** Evidence that it has become worse: log likelihood ratio, never below 0. */
  suspicion: number;
  /** Count of the type's outcomes when it last ran. */
  at: number;
}

/** Runs that count: each new one takes this share of what was known away. */
const MEMORY = 200;
/** Runs of an agent before its evidence is used; until then it is tried. */
export const TRIALS = 8;
/** Idle evidence halves after this many outcomes for each agent of the type, and doesn't fade below {@link KEPT} runs. */
const HALF_LIFE = 150;
const KEPT = 10;
/** A fall of the success ratio by this much is looked for … */
const FALL = 0.2;
/** … and taken for true at a likelihood ratio of e⁸: a false alarm in some 10,000 runs. */
const ALARM = 8;

export function newArm(): Arm {
  return { successes: 0, runs: 0, meanDurationMs: 0, suspicion: 0, at: 0 };
}

/** What is left of an arm's evidence when its type has seen `now` outcomes with `arms` agents: 0…1. */
function faded(arm: Arm, now: number, arms: number): number {
  const halfLives = (now - arm.at) / (HALF_LIFE * Math.max(1, arms));
  // Most were seen a moment ago: they keep all, and it costs no power.
  return halfLives < 0.01 || arm.runs <= KEPT ? 1 : Math.max(KEPT / arm.runs, 0.5 ** halfLives);
}

/** Mean and deviation of the belief about an arm's success ratio: Beta(1 + successes, 1 + failures). */
export function belief(
  arm: Arm | undefined,
  now: number,
  arms: number,
): { readonly mean: number; readonly deviation: number } {
  const kept = arm === undefined ? 0 : faded(arm, now, arms);
  const runs = arm === undefined ? 0 : arm.runs * kept;
  const mean = ((arm?.successes ?? 0) * kept + 1) / (runs + 2);
  return { mean, deviation: Math.sqrt((mean * (1 - mean)) / (runs + 3)) };
}

/**
 * Takes an outcome in. True: this agent has become worse by so much that what is known of its rivals may be out of date too (one-sided
 * CUSUM on the Bernoulli likelihood ratio; Page, "Continuous Inspection Schemes", 1954).
 */
export function learn(arm: Arm, ok: boolean, durationMs: number, now: number, arms: number): boolean {
  if (arm.runs > TRIALS - 0.5) arm.suspicion = Math.max(0, arm.suspicion + evidenceOfFall(arm, ok));
  const kept = faded(arm, now, arms) * (1 - 1 / MEMORY);
  arm.successes = arm.successes * kept + (ok ? 1 : 0);
  arm.runs = arm.runs * kept + 1;
  // Failures say nothing about speed: many fail at once.
  if (ok) arm.meanDurationMs += (durationMs - arm.meanDurationMs) / Math.min(arm.successes, 10);
  arm.at = now;
  return arm.suspicion > ALARM;
}

function evidenceOfFall(arm: Arm, ok: boolean): number {
  const before = Math.min(0.98, (arm.successes + 1) / (arm.runs + 2));
  const after = before - FALL;
  if (after <= 0.02) return 0;
  return ok ? Math.log(after / before) : Math.log((1 - after) / (1 - before));
}

/** Forgets what was seen, so that the agent is tried anew. */
export function doubt(arm: Arm): void {
  arm.successes = 0;
  arm.runs = 0;
  arm.suspicion = 0;
}
