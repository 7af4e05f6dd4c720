const CAP_MS = 30_000;

export type Redelivery =
  | { readonly as: 'retry'; readonly delayMs: number }
  | { readonly as: 'bury'; readonly reason: string };

/**
 * What becomes of a message whose handling failed: again after `delayMs · 2^(delivery − 1)`, jittered to half … all of it, at most
 * 30 s; to the dead letters after the last allowed delivery. Pure.
 * @param chance in [0, 1)
 */
export function decideRedelivery(facts: {
  readonly delivery: number;
  readonly maxDeliveries: number;
  readonly delayMs: number;
  readonly chance: number;
  readonly reason: string;
}): Redelivery {
  if (facts.delivery >= facts.maxDeliveries) return { as: 'bury', reason: facts.reason };
  const full = Math.min(CAP_MS, facts.delayMs * 2 ** Math.min(facts.delivery - 1, 50));
  return { as: 'retry', delayMs: full * (0.5 + facts.chance / 2) };
}
