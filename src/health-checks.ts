import type { CircuitBreaker } from './circuit-breaker/circuit-breaker.ts';
import type { Backend } from './core/ports/backend.ts';
import type { HealthChecks, PartHealth } from './health.ts';

/** What the parts of a mesh say of themselves. */
export interface HealthSources {
  /** `undefined` while it runs. */
  readonly notReady: () => string | undefined;
  readonly backend: Pick<Backend, 'check' | 'capabilities'>;
  /** ms since the store has carried something out. */
  readonly heardAgoMs: () => number;
  readonly session: { health(): PartHealth };
  readonly tasks: {
    overdueMs(): number;
    getSchedulingMetrics(): {
      readonly running: number;
      readonly queued: number;
      readonly agents: number;
      readonly zombies: number;
    };
  };
  readonly locks: { overdueMs(): number; lockUse(): { readonly held: number; readonly waiting: number } };
  readonly messages: { overdueMs(): number };
  readonly breakers: { getAllBreakers(): ReadonlyMap<string, CircuitBreaker> };
  /** A chore that is overdue for longer is stuck. */
  readonly stuckMs: number;
}

/** A store across a network that was heard of less long ago is there, ms: longer than between two sweeps that find nothing. */
const HEARD_MS = 3_000;

/** One check for each part of a mesh. */
export function healthChecks(sources: HealthSources): HealthChecks {
  const { backend, session, tasks, locks, messages, breakers, stuckMs } = sources;
  return {
    manager: () => {
      const why = sources.notReady();
      return why === undefined ? { healthy: true } : { healthy: false, error: why };
    },
    backend: async (isRound) => {
      // Not one more question twice a second: who is idle would do little else.
      if (isRound && backend.capabilities.roundTrip === 'network' && sources.heardAgoMs() < HEARD_MS)
        return { healthy: true };
      const { healthy, detail } = await backend.check();
      return healthy ? { healthy } : { healthy, error: detail ?? 'it does not answer' };
    },
    scheduler: () => {
      const { running, queued, agents, zombies } = tasks.getSchedulingMetrics();
      const metrics = { running, queued, agents, zombies };
      return {
        ...punctual('its sweep, or the record of what ended, is', tasks.overdueMs(), stuckMs),
        metrics,
      };
    },
    session: () => session.health(),
    resources: () => ({
      ...punctual('its renewals are', locks.overdueMs(), stuckMs),
      metrics: { ...locks.lockUse() },
    }),
    breakers: () => allClosed(breakers.getAllBreakers()),
    messages: () => punctual('its chores are', messages.overdueMs(), stuckMs),
  };
}

function punctual(what: string, overdueMs: number, stuckMs: number): PartHealth {
  if (overdueMs <= stuckMs) return { healthy: true };
  return { healthy: false, error: `${what} overdue for ${Math.round(overdueMs)} ms` };
}

function allClosed(breakers: ReadonlyMap<string, CircuitBreaker>): PartHealth {
  const open = [...breakers].filter(([, breaker]) => breaker.getState() === 'open').map(([name]) => name);
  const metrics = { open: open.length };
  if (open.length === 0) return { healthy: true, metrics };
  return { healthy: false, error: `${open.slice(0, 5).join(', ')} open`, metrics };
}
