import { test } from 'vitest';
import { createMemoryCore, MAX_IN_FLIGHT } from '../../src/backends/memory/memory-core.ts';
import { MemoryTaskStore } from '../../src/backends/memory/task-store.ts';
import type { Backend, Capabilities } from '../../src/core/ports/backend.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import type { SuiteEnvironment } from '../../src/testing/suites/suite.ts';
import { taskSuite } from '../../src/testing/suites/tasks.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';

const capabilities: Capabilities = {
  roundTrip: 'none',
  encoding: 'reference',
  maxBatch: 1_000,
  maxInFlight: MAX_IN_FLIGHT,
  transactions: false,
  shared: false,
  redelivery: 'item',
};

/** Tasks and sessions only, on a clock that stands still until told. */
async function create(): Promise<SuiteEnvironment> {
  const clock = createTestClock();
  const runtime = createRuntime({ clock });
  const core = createMemoryCore(runtime);
  const backend: Backend = {
    name: 'memory',
    capabilities,
    sessions: core.sessions,
    tasks: new MemoryTaskStore(core),
    start: () => ({
      at: core.clock.now(),
      durability: 'process',
      server: 'memory',
      schema: { version: 1, oldestWriter: 1 },
      problems: [],
    }),
    check: () => ({ healthy: true }),
    stop: () => undefined,
    onHint: (interest, listener) => core.hints.on(interest, listener),
  };
  return { backend, runtime, pass: (ms) => clock.advance(ms), stop: async () => undefined };
}

taskSuite({ test: (name, body) => test(name, body), create, expected: { roundTrip: 'none', encoding: 'reference' } });
