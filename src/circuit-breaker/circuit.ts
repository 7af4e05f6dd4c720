/**
 * The state machine of a breaker, as pure functions `(circuit, facts, rules, now) → circuit`. A function that changes nothing returns
 * the circuit it was given. After Nygard, Release It! (2007), with one addition: every change of state starts a new generation, and
 * the result of a call admitted in an older one changes nothing (B2).
 */

/** A call admitted in half-open. It gives its place back when it settles, or at `until` if it hasn't (B6). */
export interface Probe {
  readonly id: number;
  /** Monotonic ms. */
  readonly until: number;
}

interface Common {
  /** Grows with every change of state, and whenever the state is set by hand. */
  readonly generation: number;
  /** Why it is in this state, for people. */
  readonly reason: string;
}
export interface Closed extends Common {
  readonly state: 'closed';
  /** Failures since the last success. */
  readonly failures: number;
}
export interface Open extends Common {
  readonly state: 'open';
  /** When probes are let through: monotonic ms, never moved (B4). */
  readonly until: number;
}
export interface HalfOpen extends Common {
  readonly state: 'half-open';
  readonly successes: number;
  /** Those under way, oldest first: at most `halfOpenLimit` (B1). */
  readonly probes: readonly Probe[];
  readonly nextProbe: number;
}
export type Circuit = Closed | Open | HalfOpen;

/** What the transitions need to know of the options. */
export interface CircuitRules {
  readonly failureThreshold: number;
  readonly successThreshold: number;
  readonly timeout: number;
  readonly halfOpenLimit: number;
  readonly probeTimeoutMs: number;
}

/** What a call's end means: `ignore` says nothing about the dependency. */
export type Verdict = 'success' | 'failure' | 'ignore';

/** How a call ended. */
export interface CallEnd {
  /** The generation in which it was admitted. */
  readonly generation: number;
  /** Its place, if it was admitted in half-open. */
  readonly probe?: number | undefined;
  readonly verdict: Verdict;
  /** Closed only: why the calls counted so far, this one included, open the circuit. */
  readonly trip?: string | undefined;
}

/** A breaker that has seen nothing yet. */
export const initialCircuit: Closed = { state: 'closed', generation: 0, reason: 'new', failures: 0 };

/** What the passing of time changes: open → half-open at its time, and overdue probes lose their places. */
export function elapse(circuit: Circuit, now: number): Circuit {
  if (circuit.state === 'open') {
    return now < circuit.until ? circuit : halfOpen(circuit.generation + 1, 'the timeout has passed');
  }
  if (circuit.state === 'closed' || circuit.probes.every((probe) => now < probe.until)) return circuit;
  return { ...circuit, probes: circuit.probes.filter((probe) => now < probe.until) };
}

/** Takes a place for a probe; the new one is the last. `undefined`: all places are taken (B1). */
export function admitProbe(circuit: HalfOpen, rules: CircuitRules, now: number): HalfOpen | undefined {
  if (circuit.probes.length >= rules.halfOpenLimit) return undefined;
  const probe = { id: circuit.nextProbe, until: now + rules.probeTimeoutMs };
  return { ...circuit, probes: [...circuit.probes, probe], nextProbe: circuit.nextProbe + 1 };
}

/** Whether a call's end still means something: admitted in this generation, and in half-open its place not taken back (B2, B6). */
export function isCurrent(circuit: Circuit, generation: number, probe: number | undefined): boolean {
  if (generation !== circuit.generation) return false;
  return circuit.state === 'half-open' ? circuit.probes.some(({ id }) => id === probe) : true;
}

/** Takes a call's end into account, if it is current. */
export function settle(circuit: Circuit, end: CallEnd, rules: CircuitRules, now: number): Circuit {
  if (!isCurrent(circuit, end.generation, end.probe)) return circuit;
  if (circuit.state === 'closed') return settleClosed(circuit, end, rules, now);
  // Nothing is admitted in an open circuit, so nothing can end in it.
  return circuit.state === 'half-open' ? settleProbe(circuit, end, rules, now) : circuit;
}

function settleClosed(circuit: Closed, end: CallEnd, rules: CircuitRules, now: number): Circuit {
  const failures =
    end.verdict === 'failure' ? circuit.failures + 1 : end.verdict === 'success' ? 0 : circuit.failures;
  const reason =
    end.verdict === 'failure' && failures >= rules.failureThreshold
      ? `${failures} consecutive ${failures === 1 ? 'failure' : 'failures'}`
      : end.trip;
  if (reason !== undefined) return open(circuit.generation + 1, reason, rules, now);
  return failures === circuit.failures ? circuit : { ...circuit, failures };
}

function settleProbe(circuit: HalfOpen, end: CallEnd, rules: CircuitRules, now: number): Circuit {
  const probes = circuit.probes.filter(({ id }) => id !== end.probe);
  if (end.verdict === 'failure') return open(circuit.generation + 1, 'a probe failed', rules, now);
  if (end.verdict === 'ignore') return { ...circuit, probes };
  const successes = circuit.successes + 1;
  return successes < rules.successThreshold
    ? { ...circuit, successes, probes }
    : closed(circuit.generation + 1, `${successes} ${successes === 1 ? 'probe' : 'probes'} succeeded`);
}

/** Puts the circuit into a state by hand. From there time and results move it as always. */
export function force(
  circuit: Circuit,
  state: Circuit['state'],
  reason: string,
  rules: CircuitRules,
  now: number,
): Circuit {
  const generation = circuit.generation + 1;
  if (state === 'closed') return closed(generation, reason);
  return state === 'open' ? open(generation, reason, rules, now) : halfOpen(generation, reason);
}

function closed(generation: number, reason: string): Closed {
  return { state: 'closed', generation, reason, failures: 0 };
}

function open(generation: number, reason: string, rules: CircuitRules, now: number): Open {
  return { state: 'open', generation, reason, until: now + rules.timeout };
}

function halfOpen(generation: number, reason: string): HalfOpen {
  return { state: 'half-open', generation, reason, successes: 0, probes: [], nextProbe: 0 };
}
