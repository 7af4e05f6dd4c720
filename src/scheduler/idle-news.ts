import type { EventSink } from '../core/events.ts';
import type { Clock } from '../core/ports/runtime.ts';
import type { Agent } from './agent.ts';

/** Tells when an agent begins to work, and when it has nothing to do any more. */
export class IdleNews {
  readonly #events: EventSink;
  readonly #clock: Clock;
  /** Agents that became idle in this turn. */
  readonly #idle: Agent[] = [];

  constructor(events: EventSink, clock: Clock) {
    this.#events = events;
    this.#clock = clock;
  }

  active(agent: Agent): void {
    if (!agent.toldIdle) return;
    agent.toldIdle = false;
    if (this.#events.wants('agent:active')) this.#events.emit('agent:active', { agentId: agent.id });
  }

  /** Told once it is idle at the end of this turn of the loop: between two tasks it isn't worth a word. */
  idle(agent: Agent): void {
    if (agent.tellsIdle) return;
    agent.tellsIdle = true;
    this.#idle.push(agent);
    if (this.#idle.length === 1) this.#clock.soon(this.#tell);
  }

  readonly #tell = (): void => {
    for (const agent of this.#idle.splice(0)) {
      agent.tellsIdle = false;
      if (!agent.isIdle || agent.toldIdle) continue;
      agent.toldIdle = true;
      if (this.#events.wants('agent:idle')) this.#events.emit('agent:idle', { agentId: agent.id });
    }
  };
}
