/** How delays between attempts grow. */
export interface BackoffRules {
  readonly delayMs: number;
  readonly factor: number;
  readonly maxDelayMs: number;
  readonly jitter: 'full' | 'equal' | 'none';
}

/**
 * The delay before attempt `attempt` (from 2): exponential, capped, jittered by `chance` in [0, 1). Pure.
 * Brooker, Exponential Backoff and Jitter (AWS, 2015).
 */
export function backoff(attempt: number, rules: BackoffRules, chance: number): number {
  // Zero grows to nothing; times an overflowed power it would be NaN.
  const grown = rules.delayMs === 0 ? 0 : rules.delayMs * rules.factor ** (attempt - 2);
  const full = Math.min(rules.maxDelayMs, grown);
  if (rules.jitter === 'none') return full;
  return rules.jitter === 'full' ? full * chance : full / 2 + (full / 2) * chance;
}
