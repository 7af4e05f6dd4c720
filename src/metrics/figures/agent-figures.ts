import { type FigureParts, type Figures, type Listen, MAX_FOLLOWED, percent } from './figures.ts';

export interface AgentMetrics {
  /** Agents known by their events: spawned, idle or active, and not terminated. */
  readonly totalAgents: number;
  readonly activeAgents: number;
  readonly idleAgents: number;
  /** Slots that run something, percent 0…100; without a gauge, agents that run something. */
  readonly agentUtilization: number;
}

export class AgentFigures implements Figures {
  readonly #parts: FigureParts;
  /** By id: whether it runs something. */
  readonly #agents = new Map<string, boolean>();
  #active = 0;

  constructor(parts: FigureParts) {
    this.#parts = parts;
    const { registry } = parts;
    registry.gauge('agentmesh_agents', 'Agents by state.', () => {
      const { activeAgents, idleAgents } = this.read();
      return [
        { labels: { state: 'active' }, value: activeAgents },
        { labels: { state: 'idle' }, value: idleAgents },
      ];
    });
    registry.gauge('agentmesh_agent_utilization_ratio', 'Share of slots that run something.', () => [
      { labels: {}, value: this.read().agentUtilization / 100 },
    ]);
  }

  listen(on: Listen): void {
    const { history, registry } = this.#parts;
    const subjects = [
      ['agent:spawned', 'agent.spawned', 'agentmesh_agents_spawned_total', 'Agents registered.', false],
      ['agent:idle', 'agent.idle', 'agentmesh_agents_idled_total', 'Times an agent became idle.', false],
      [
        'agent:active',
        'agent.active',
        'agentmesh_agents_activated_total',
        'Times an agent became active.',
        true,
      ],
    ] as const;
    for (const [event, metric, name, help, active] of subjects) {
      const count = history.count(metric);
      const counter = registry.counter(name, help);
      on(event, ({ agentId }: { readonly agentId: string }) => {
        count.total += 1;
        counter.add();
        this.#note(agentId, active);
      });
    }
    const count = history.count('agent.terminated');
    const counter = registry.counter('agentmesh_agents_terminated_total', 'Agents that left or died.');
    on('agent:terminated', ({ agentId }) => {
      count.total += 1;
      counter.add();
      if (this.#agents.get(agentId) === true) this.#active -= 1;
      this.#agents.delete(agentId);
    });
  }

  read(): AgentMetrics {
    const totalAgents = this.#agents.size;
    const slots = this.#parts.gauges.read('agentSlots');
    return {
      totalAgents,
      activeAgents: this.#active,
      idleAgents: totalAgents - this.#active,
      agentUtilization:
        slots === undefined ? percent(this.#active, totalAgents) : percent(slots.running, slots.slots),
    };
  }

  clear(): void {
    // counts live in the history and the registry; who is there stays
  }

  #note(agentId: string, active: boolean): void {
    const before = this.#agents.get(agentId);
    if (before === active || (before === undefined && this.#agents.size >= MAX_FOLLOWED)) return;
    this.#agents.set(agentId, active);
    if (active) this.#active += 1;
    else if (before === true) this.#active -= 1;
  }
}
