import type { Backend, BackendReport, Capabilities, Hint } from '../../core/ports/backend.ts';
import { checkInteger, checkMs, invalid } from '../../core/check.ts';
import { describe } from '../../core/errors.ts';
import { checkOptions } from '../../core/options.ts';
import type { Runtime } from '../../core/ports/runtime.ts';
import { systemClock } from '../../core/runtime/runtime.ts';
import { createMemoryCore, MAX_IN_FLIGHT } from './memory-core.ts';
import { MemoryLockStore } from './lock-store.ts';
import { MemoryMessageTransport } from './message-transport.ts';
import type { MemorySessions } from './sessions.ts';
import { MemoryStateStore } from './state-store.ts';
import { MemoryTaskStore, type MemoryTaskStoreOptions } from './task-store.ts';

/** Transitions are kept in a ring of this length. */
const MAX_HISTORY = 10_000_000;
const MAX_REMEMBERED = 10_000_000;

export interface MemoryOptions {
  /**
   * Several managers of this process meet on this one backend object: it then says that it is shared, so they watch and poll it as they
   * would a server. @default false
   */
  readonly shared?: boolean;
  /** How much the task store remembers. */
  readonly tasks?: MemoryTaskStoreOptions;
}

/** The memory backend: every port, answers without promises, nothing survives the process. */
export interface MemoryBackend extends Backend {
  readonly sessions: MemorySessions;
  readonly tasks: MemoryTaskStore;
  readonly locks: MemoryLockStore;
  readonly messages: MemoryMessageTransport;
  readonly state: MemoryStateStore;
  start(runtime: Runtime): BackendReport;
  check(): { readonly healthy: boolean; readonly detail?: string };
  stop(): void;
}

/**
 * A backend in the memory of this process: the fastest one, and the model of the others. `start` makes it go by the runtime's clock.
 * Managers that share it each `start` and `stop` it; it stops with the last.
 */
export function memory(given: MemoryOptions = {}): MemoryBackend {
  const options = checkMemoryOptions(given);
  const core = createMemoryCore({ clock: systemClock() });
  const users = new Set<Runtime>();
  let stops = 0;
  const capabilities: Capabilities = {
    roundTrip: 'none',
    encoding: 'reference',
    maxBatch: 10_000,
    ordered: true,
    maxInFlight: MAX_IN_FLIGHT,
    transactions: false,
    shared: options.shared === true,
    redelivery: 'item',
  };
  return {
    name: 'memory',
    capabilities,
    sessions: core.sessions,
    tasks: new MemoryTaskStore(core, options.tasks, capabilities.shared),
    locks: new MemoryLockStore(core),
    messages: new MemoryMessageTransport(core),
    state: new MemoryStateStore(core),
    start(runtime) {
      if (users.size === 0) core.clock.follow(runtime.clock);
      // Whoever comes back had stopped before.
      if (users.has(runtime) && stops > 0) stops -= 1;
      users.add(runtime);
      core.log.stopped = false;
      return {
        at: core.clock.now(),
        durability: 'process',
        server: 'memory',
        schema: { version: 1, oldestWriter: 1 },
        problems: [],
      };
    },
    check: () => (core.log.stopped ? { healthy: false, detail: 'stopped' } : { healthy: true }),
    stop() {
      stops += 1;
      if (stops < users.size) return;
      stops = 0;
      users.clear();
      core.log.stopped = true;
    },
    onHint: (interest: readonly Hint[], listener: (hint: Hint) => void) => core.hints.on(interest, listener),
  };
}

function checkMemoryOptions(given: MemoryOptions): MemoryOptions {
  const { tasks, ...options } = checkOptions('memory', given, ['shared', 'tasks']);
  if (options.shared !== undefined && typeof options.shared !== 'boolean')
    throw invalid(`Expected shared to be true or false, got ${describe(options.shared)}`);
  if (tasks === undefined) return options;
  const known = ['keepEnded', 'rememberEnded', 'history', 'tombstoneMs'] as const;
  const kept = checkOptions('memory.tasks', tasks, known, 'the tasks of memory');
  if (kept.keepEnded !== undefined) checkInteger(kept.keepEnded, 'keepEnded', 0);
  if (kept.rememberEnded !== undefined) checkInteger(kept.rememberEnded, 'rememberEnded', 0, MAX_REMEMBERED);
  if (kept.history !== undefined) checkInteger(kept.history, 'history', 0, MAX_HISTORY);
  if (kept.tombstoneMs !== undefined) checkMs(kept.tombstoneMs, 'tombstoneMs');
  return { ...options, tasks: kept };
}
