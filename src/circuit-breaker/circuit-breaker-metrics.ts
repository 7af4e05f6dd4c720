import type { CircuitState } from '../core/coordination-types.ts';

/** calls = running + successes + failures + ignored + stale. A reset starts all of them anew. */
export interface CircuitBreakerMetrics {
  readonly state: CircuitState;
  /** Why it is in this state. */
  readonly reason: string;
  readonly generation: number;
  /** Calls that were made. */
  readonly calls: number;
  readonly running: number;
  readonly successes: number;
  readonly failures: number;
  readonly ignored: number;
  /** Calls that ended after the state had changed, or after their place was taken back: they changed nothing. */
  readonly stale: number;
  /** Calls that were not made. */
  readonly refused: number;
  readonly opened: number;
  /** Calls that were made in half-open. */
  readonly probes: number;
  readonly consecutiveFailures: number;
  /** ms until probes are let through; 0 unless open. */
  readonly retryAfterMs: number;
}

/** The counts of a breaker that was just made or reset. */
export const NO_COUNTS = {
  calls: 0,
  successes: 0,
  failures: 0,
  ignored: 0,
  stale: 0,
  refused: 0,
  opened: 0,
  probes: 0,
};
