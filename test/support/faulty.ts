import { CoordinationError } from '../../src/core/errors.ts';
import type { Backend } from '../../src/core/ports/backend.ts';
import { type Call, intercept } from '../../src/testing/wrappers.ts';

/** `away`: nothing arrives. `deaf`: everything is carried out, and no answer comes back. `gone`: its schema was dropped. */
export type Fault = 'none' | 'away' | 'deaf' | 'gone';

export interface Faults {
  fault: Fault;
  /** Which calls it concerns. */
  hits: (name: string) => boolean;
  /** Calls that arrived, or would have, by `port.method`. */
  readonly calls: Map<string, number>;
}

/** A backend as it looks from a process whose connection fails for a while. */
export function faulty<B extends Backend>(backend: B): { readonly backend: B; readonly faults: Faults } {
  const faults: Faults = { fault: 'none', hits: () => true, calls: new Map() };
  const wrapped = intercept(backend, async (call: Call) => {
    const name = `${call.port}.${call.method}`;
    faults.calls.set(name, (faults.calls.get(name) ?? 0) + 1);
    const { fault } = faults;
    const isHit = fault !== 'none' && faults.hits(name);
    if (isHit && fault === 'away') throw new CoordinationError('BACKEND_UNAVAILABLE', 'The server is away');
    if (isHit && fault === 'gone') throw new CoordinationError('SCHEMA_MISMATCH', 'There is no such schema');
    const answer = await call.send();
    if (!isHit) return answer;
    throw call.op === undefined
      ? new CoordinationError('BACKEND_UNAVAILABLE', 'The answer to a read was lost')
      : new CoordinationError('OUTCOME_UNKNOWN', 'The answer was lost');
  });
  return { backend: wrapped, faults };
}
