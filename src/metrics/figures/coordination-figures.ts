import { CircuitState } from '../../core/coordination-types.ts';
import type { GaugeSeries } from '../metric-registry.ts';
import type { FigureParts, Figures, Listen } from './figures.ts';

export interface CoordinationCounts {
  readonly deadlocksDetected: number;
  readonly deadlocksResolved: number;
  readonly conflictsDetected: number;
  readonly conflictsResolved: number;
  readonly conflictsEscalated: number;
  /** Moves that were asked for. */
  readonly workStealingEvents: number;
  readonly tasksStolen: number;
  /** How often a breaker opened. */
  readonly circuitBreakerTrips: number;
  /** Breakers that are open now. */
  readonly openBreakers: number;
  readonly errors: number;
}

export class CoordinationFigures implements Figures {
  readonly #parts: FigureParts;
  readonly #breakers = new Map<string, CircuitState>();
  #resolved = 0;
  #escalated = 0;
  #stolen = 0;

  constructor(parts: FigureParts) {
    this.#parts = parts;
    parts.registry.gauge('agentmesh_breaker_state', 'Whether a breaker is in this state.', () =>
      this.#breakerStates(),
    );
  }

  listen(on: Listen): void {
    this.#listenToDeadlocks(on);
    this.#listenToConflicts(on);
    this.#listenToSteals(on);
    this.#listenToBreakers(on);
    this.#listenToErrors(on);
  }

  read(): CoordinationCounts {
    const { history } = this.#parts;
    return {
      deadlocksDetected: history.count('deadlock.detected').total,
      deadlocksResolved: this.#resolved,
      conflictsDetected: history.count('conflict.detected').total,
      conflictsResolved: history.count('conflict.resolved').total,
      conflictsEscalated: this.#escalated,
      workStealingEvents: history.count('workstealing.event').total,
      tasksStolen: this.#stolen,
      circuitBreakerTrips: history.count('circuitbreaker.trip').total,
      openBreakers: [...this.#breakers.values()].filter((state) => state === 'open').length,
      errors: history.count('error').total,
    };
  }

  clear(): void {
    this.#resolved = this.#escalated = this.#stolen = 0;
  }

  #listenToDeadlocks(on: Listen): void {
    const { history, registry } = this.#parts;
    const detected = history.count('deadlock.detected');
    const deadlocks = registry.counter('agentmesh_deadlocks_total', 'Deadlocks found and broken.');
    on('deadlock:detected', () => {
      detected.total += 1;
      deadlocks.add();
    });
    on('deadlock:resolved', () => {
      this.#resolved += 1;
    });
  }

  #listenToConflicts(on: Listen): void {
    const { history, registry } = this.#parts;
    const detected = history.count('conflict.detected');
    const reports = registry.counter('agentmesh_conflicts_reported_total', 'Conflicts reported.', 'kind');
    on('conflict:reported', ({ kind }) => {
      detected.total += 1;
      reports.add(1, kind);
    });
    const resolved = history.count('conflict.resolved');
    const ends = registry.counter(
      'agentmesh_conflicts_total',
      'Conflicts ended.',
      'kind',
      'strategy',
      'outcome',
    );
    on('conflict:resolved', ({ conflict, resolution }) => {
      resolved.total += 1;
      ends.add(1, conflict.kind, resolution.type, 'resolved');
    });
    on('conflict:escalated', () => {
      this.#escalated += 1;
      ends.add(1, '', '', 'escalated');
    });
  }

  #listenToSteals(on: Listen): void {
    const { history, registry } = this.#parts;
    const requested = history.count('workstealing.event');
    const steals = registry.counter('agentmesh_steals_total', 'Steals.', 'outcome');
    on('workstealing:request', () => {
      requested.total += 1;
      steals.add(1, 'requested');
    });
    const moved = registry.counter('agentmesh_tasks_stolen_total', 'Tasks that steals moved.');
    on('work:stolen', ({ taskIds }) => {
      this.#stolen += taskIds.length;
      steals.add(1, 'moved');
      moved.add(taskIds.length);
    });
  }

  #listenToBreakers(on: Listen): void {
    const { history, registry } = this.#parts;
    const tripped = history.count('circuitbreaker.trip');
    const name = 'agentmesh_breaker_transitions_total';
    const changes = registry.counter(name, 'Changes of state.', 'from', 'to');
    on('circuitbreaker:state-change', ({ name: breaker, from, to }) => {
      changes.add(1, from, to);
      if (to === 'open') tripped.total += 1;
      // Names beyond the bound would overwrite each other.
      if (registry.limits.admit('breaker', breaker) === breaker) this.#breakers.set(breaker, to);
      else registry.limits.drop();
    });
  }

  #listenToErrors(on: Listen): void {
    const { history, registry } = this.#parts;
    const count = history.count('error');
    const errors = registry.counter(
      'agentmesh_errors_total',
      'Errors of parts and of agents’ handlers.',
      'part',
      'code',
    );
    on('system:error', ({ part, code }) => {
      count.total += 1;
      errors.add(1, part, code);
    });
    on('agent:error', () => {
      count.total += 1;
      errors.add(1, 'agent');
    });
  }

  *#breakerStates(): Iterable<GaugeSeries> {
    for (const [breaker, now] of this.#breakers) {
      for (const state of Object.values(CircuitState)) {
        yield { labels: { breaker, state }, value: state === now ? 1 : 0 };
      }
    }
  }
}
