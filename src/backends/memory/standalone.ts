import { EMPTY_REPORT } from '../../core/empty-report.ts';
import { createOperations, type Operations } from '../../core/operations.ts';
import type { Logger, Runtime } from '../../core/ports/runtime.ts';
import { createRuntime } from '../../core/runtime/runtime.ts';
import { createMemoryCore, MAX_IN_FLIGHT, type MemoryCore } from './memory-core.ts';

/** What a part needs that is used without a manager: a runtime, and a memory backend with a session that lives as long as the process. */
export function standalone(
  parts: { readonly logger?: Logger | undefined; readonly runtime?: Runtime | undefined } = {},
): {
  readonly runtime: Runtime;
  readonly core: MemoryCore;
  readonly operations: Operations;
} {
  const runtime = parts.runtime ?? createRuntime({ logger: parts.logger });
  const core = createMemoryCore(runtime);
  const { session } = core.sessions.open({
    boot: runtime.ids.next(),
    leaseMs: Number.POSITIVE_INFINITY,
    writer: 1,
    report: EMPTY_REPORT,
  });
  return { runtime, core, operations: createOperations(session, runtime, { maxInFlight: MAX_IN_FLIGHT }) };
}
