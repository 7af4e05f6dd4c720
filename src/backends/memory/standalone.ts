import { createOperations, type Operations } from '../../core/operations.ts';
import type { Logger, Runtime } from '../../core/ports/runtime.ts';
import type { SessionReport } from '../../core/ports/sessions.ts';
import { createRuntime } from '../../core/runtime/runtime.ts';
import { createMemoryCore, MAX_IN_FLIGHT, type MemoryCore } from './memory-core.ts';

const NOBODY: SessionReport = {
  host: 'local',
  pid: 0,
  build: '',
  load: { running: 0, unstarted: 0, slots: 0, weight: 0 },
  rssBytes: 0,
  loopLagMs: 0,
  agents: [],
  progress: [],
};

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
    report: NOBODY,
  });
  return { runtime, core, operations: createOperations(session, runtime, { maxInFlight: MAX_IN_FLIGHT }) };
}
