import type { Hint } from '../../core/ports/backend.ts';
import type { Runtime } from '../../core/ports/runtime.ts';
import { HintHub } from '../../core/hint-hub.ts';
import { MemoryClock } from './memory-clock.ts';
import { OperationLog } from './operation-log.ts';
import { MemorySessions } from './sessions.ts';

/** Most unanswered operations of a session on the memory backend. */
export const MAX_IN_FLIGHT = 32;

/** What the stores of one memory backend share. */
export interface MemoryCore {
  readonly clock: MemoryClock;
  readonly log: OperationLog;
  readonly sessions: MemorySessions;
  /** Tells other managers on this backend. Costs nothing when nobody listens. */
  readonly hint: (hint: Hint) => void;
  readonly hints: HintHub;
}

export function createMemoryCore(runtime: Pick<Runtime, 'clock'>): MemoryCore {
  const clock = new MemoryClock(runtime.clock);
  const log = new OperationLog(MAX_IN_FLIGHT);
  const sessions = new MemorySessions(clock, log);
  const hints = new HintHub();
  return { clock, log, sessions, hints, hint: (hint) => hints.send(hint) };
}
