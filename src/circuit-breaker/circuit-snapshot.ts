import { checkInteger, checkMs, checkRecord, invalid } from '../core/check.ts';
import type { CircuitState } from '../core/coordination-types.ts';
import { describe } from '../core/errors.ts';
import type { Circuit, CircuitRules } from './circuit.ts';

/**
 * A breaker's state as plain data, to be kept over a restart or shared between processes. Times are durations, so no clock need agree;
 * what is compared between copies is `generation`: the larger one is newer. Calls counted in a window and probes under way stay out.
 */
export interface CircuitSnapshot {
  readonly state: CircuitState;
  readonly generation: number;
  readonly reason: string;
  /** closed: failures since the last success. */
  readonly failures?: number;
  /** open: ms until probes are let through. */
  readonly leftMs?: number;
  /** half-open: probes that succeeded so far. */
  readonly successes?: number;
}

export function toSnapshot(circuit: Circuit, now: number): CircuitSnapshot {
  const { state, generation, reason } = circuit;
  if (circuit.state === 'closed') return { state, generation, reason, failures: circuit.failures };
  return circuit.state === 'open'
    ? { state, generation, reason, leftMs: Math.max(0, circuit.until - now) }
    : { state, generation, reason, successes: circuit.successes };
}

/** The circuit of a snapshot, never further from closing than the rules allow. @throws INVALID_ARGUMENT */
export function fromSnapshot(given: unknown, rules: CircuitRules, now: number): Circuit {
  const snapshot = checkRecord(given as Partial<CircuitSnapshot>, 'the snapshot of a circuit');
  const generation = checkInteger(snapshot.generation, 'snapshot.generation', 0);
  const reason = typeof snapshot.reason === 'string' ? snapshot.reason.slice(0, 200) : 'restored';
  switch (snapshot.state) {
    case 'closed': {
      const failures = checkInteger(snapshot.failures ?? 0, 'snapshot.failures', 0);
      return {
        state: 'closed',
        generation,
        reason,
        failures: Math.min(failures, rules.failureThreshold - 1),
      };
    }
    case 'open': {
      const leftMs = checkMs(snapshot.leftMs ?? rules.timeout, 'snapshot.leftMs');
      return { state: 'open', generation, reason, until: now + Math.min(leftMs, rules.timeout) };
    }
    case 'half-open': {
      const given = checkInteger(snapshot.successes ?? 0, 'snapshot.successes', 0);
      const successes = Math.min(given, rules.successThreshold - 1);
      return { state: 'half-open', generation, reason, successes, probes: [], nextProbe: 0 };
    }
    default:
      throw invalid(
        `Expected snapshot.state to be closed, open or half-open, got ${describe(snapshot.state)}`,
      );
  }
}
