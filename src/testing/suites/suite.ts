import type { Backend, Capabilities } from '../../core/ports/backend.ts';
import type { Runtime } from '../../core/ports/runtime.ts';

/**
 * What a conformance suite needs from its caller; neutral of test runners. `test(name, body)` registers one test (`test` of vitest,
 * node:test, jest, mocha fit). Failures are thrown by `node:assert`.
 */
export interface SuiteOptions {
  readonly test: (name: string, body: () => Promise<void>) => void;
  /** A started backend of its own for each test: empty, or under a name of its own. */
  readonly create: () => Promise<SuiteEnvironment>;
  /** What the backend must say of itself. Asserted, so that nothing is left out silently. */
  readonly expected: Partial<Capabilities>;
}

export interface SuiteEnvironment {
  readonly backend: Backend;
  readonly runtime: Runtime;
  /** Lets this much of the backend's time pass: sleeps, or moves a simulated clock. */
  pass(ms: number): Promise<void>;
  /** Stops the backend and removes what it left. */
  stop(): Promise<void>;
}
