import { handled } from '../core/awaitable.ts';
import { checkId, checkObject, invalid, reading } from '../core/check.ts';
import { toStoredError } from '../core/errors.ts';
import type { EventSink } from '../core/events.ts';
import type { Operations } from '../core/operations.ts';
import type { Resolved } from '../core/options.ts';
import type { Runtime } from '../core/ports/runtime.ts';
import type { Consequences, TaskStore } from '../core/ports/tasks.ts';
import type { Cursor } from '../core/ports/words.ts';
import type { Agent } from './agent.ts';
import type { AgentRegistry } from './agent-registry.ts';
import type { Cancellation } from './cancellation.ts';
import { handlersOf } from './define-task.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { Executor } from './executor.ts';
import { normaliseAgent } from './normalise.ts';
import type { SchedulerParts } from './parts.ts';
import { settingsOf } from './settings.ts';
import type { Settler } from './settler.ts';
import type { Shutdown } from './shutdown.ts';
import type { AgentHandle, AgentProfile } from './types.ts';

/** What the store could not do is tried again after this, ms. */
const AGAIN_MS = 1_000;
/** Tasks of one call. */
const PAGE = 1_000;

export interface AgentAdminDeps {
  readonly runtime: Runtime;
  readonly options: Pick<Resolved<'scheduling'>, 'agentSlots'>;
  readonly events: EventSink;
  readonly store: TaskStore;
  readonly operations: () => Operations;
  readonly parts: SchedulerParts;
  readonly agents: AgentRegistry;
  readonly dispatcher: Dispatcher;
  readonly executor: Executor;
  readonly settler: Settler;
  readonly cancellation: Cancellation;
  readonly shutdown: Shutdown;
  readonly consequences: (answer: Consequences) => void;
  /** Most items of one call to a store across a network; absent: it is in this process. */
  readonly farBatch: number | undefined;
}

/** Lets agents come and go: whoever leaves gives back what it was given. */
export class AgentAdmin {
  readonly #deps: AgentAdminDeps;

  constructor(deps: AgentAdminDeps) {
    this.#deps = deps;
  }

  /** @throws INVALID_ARGUMENT */
  register(profile: AgentProfile): AgentHandle {
    const { agents, dispatcher, events, options, parts } = this.#deps;
    const facts = reading('an agent', () => normaliseAgent(withDefinitions(profile), options.agentSlots));
    const known = agents.get(facts.id);
    const agent = agents.register(facts);
    if (events.wants('agent:spawned')) {
      events.emit('agent:spawned', { agentId: agent.id, capabilities: facts.capabilities });
    }
    if (known !== undefined) this.#adopt(known, agent);
    parts.agentJoined?.(agent.id);
    this.#watchSilence(agent);
    dispatcher.freed(agent, true);
    return this.#handleOf(agent);
  }

  /** Gives its tasks back, and resolves when they have stopped. @throws UNKNOWN_AGENT; the reason of the caller's own `signal` */
  async unregister(agentId: string, reason: string): Promise<void> {
    const { agents, dispatcher, events, executor, parts, settler } = this.#deps;
    if (agents.get(checkId(agentId, 'agentId')) === undefined && agents.hasLeft(agentId)) return;
    const agent = agents.require(agentId);
    const { inside } = executor;
    agents.remove(agent);
    this.#stopAll(agent, `agent ${agentId} left: ${reason}`);
    const parted = parts.agentLeft?.(agentId);
    if (parted !== undefined) handled(parted);
    await this.#unpinSurely(agentId);
    events.emit('agent:terminated', { agentId, reason });
    parts.waits?.sweep();
    await agent.untilIdle(inside);
    if (agent.isIdle) agents.forget(agent);
    else handled(agent.untilIdle().then(() => agents.forget(agent)));
    await settler.untilIdle();
    await parted;
    dispatcher.wake();
    // The caller's own task is among those that are stopped: it hears so here too, and goes on elsewhere.
    if (inside?.agent === agent && inside.facts.stopError !== undefined) throw inside.facts.stopError;
  }

  /** Gives everything of an agent back to the queue, for any agent. Returns how many. @throws UNKNOWN_AGENT */
  async reschedule(agentId: string, reason: string): Promise<number> {
    const agent = this.#deps.agents.require(checkId(agentId, 'agentId'));
    const count = this.#stopAll(agent, reason);
    await this.#unpin(agentId);
    this.#deps.settler.flush();
    return count;
  }

  /** A task went back to the queue, pinned to this agent. Nobody claims for one that left, so then any may have it. */
  readonly stranded = (agentId: string): void => {
    if (this.#deps.agents.hasLeft(agentId)) handled(this.unpinLeft(agentId));
  };

  /** What came to be pinned to an agent that left meanwhile may go to any. */
  async unpinLeft(agentId: string): Promise<void> {
    if (this.#deps.agents.get(agentId) !== undefined) return;
    await this.#unpin(agentId);
    this.#deps.dispatcher.wake();
  }

  /** A store that fails now is asked again until it answers: what is pinned to an agent that left would wait for ever. */
  async #unpinSurely(agentId: string): Promise<void> {
    try {
      await this.#unpin(agentId);
    } catch (error) {
      const { agents, runtime, events, shutdown } = this.#deps;
      if (shutdown.isStopped) return;
      const { code, message } = toStoredError(error);
      runtime.logger.warn('Could not unpin the tasks of an agent that left', { agentId, code, message });
      events.emit('system:error', { part: 'scheduler', code, message });
      runtime.clock.after(AGAIN_MS, () => {
        if (!shutdown.isStopped && agents.get(agentId) === undefined) handled(this.#unpinSurely(agentId));
      });
    }
  }

  /** Tasks that wait for this agent alone may go to any, unless they are only for it. */
  async #unpin(agentId: string): Promise<void> {
    const { store, operations, consequences, dispatcher, farBatch = PAGE } = this.#deps;
    const limit = Math.min(PAGE, farBatch);
    let after: Cursor | undefined;
    do {
      const page = await store.list(
        { agent: agentId, state: ['waiting', 'scheduled', 'ready'] },
        { limit, ...(after === undefined ? {} : { after }) },
      );
      const ids = page.items.filter((record) => settingsOf(record.body).only !== true).map(({ id }) => id);
      if (ids.length > 0) {
        const revision = { set: 'agent', agent: null } as const;
        const answer = await operations().run((op) =>
          store.revise(op, { filter: { ids, agent: agentId }, revision, limit: ids.length }),
        );
        consequences(answer);
        dispatcher.wake();
      }
      after = page.next;
    } while (after !== undefined);
  }

  /**
   * What was assigned to its id before it was registered is its own. With a handler, what waits for an answer from outside is assigned
   * anew.
   */
  #adopt(known: Agent, agent: Agent): void {
    for (const run of this.#deps.dispatcher.locking) if (run.agent === known) run.agent = agent;
    if (agent.external) return;
    for (const run of agent.runs()) {
      run.extras.moveTo = agent.id;
      this.#deps.cancellation.stop(run, 'agent-left', `agent ${agent.id} has a handler now`);
    }
  }

  #stopAll(agent: Agent, reason: string): number {
    const { dispatcher, cancellation } = this.#deps;
    const runs = [...dispatcher.unstartedAt(agent), ...agent.runs()];
    for (const run of runs) cancellation.stop(run, 'agent-left', reason);
    return runs.length;
  }

  #watchSilence(agent: Agent): void {
    const { silenceMs } = agent.facts;
    if (!agent.external || silenceMs === Number.POSITIVE_INFINITY) return;
    const { clock } = this.#deps.runtime;
    const look = (): void => {
      if (agent.gone || this.#deps.shutdown.isStopped) return;
      const leftMs = agent.heardAt + silenceMs - clock.mono();
      if (leftMs > 0) clock.after(leftMs, look);
      else handled(this.unregister(agent.id, `silent for ${silenceMs} ms`));
    };
    clock.after(silenceMs, look);
  }

  #handleOf(agent: Agent): AgentHandle {
    return {
      id: agent.id,
      drain: () => this.#drain(agent),
      leave: (reason) => this.#leave(agent, reason),
      beat: () => {
        agent.heardAt = this.#deps.runtime.clock.mono();
      },
      [Symbol.asyncDispose]: () => this.#leave(agent),
    };
  }

  /** An id may have been registered again: the handle of the former agent leaves that one alone. */
  async #leave(agent: Agent, reason = 'unregistered'): Promise<void> {
    if (!agent.gone) await this.unregister(agent.id, reason);
  }

  async #drain(agent: Agent): Promise<void> {
    const { agents, cancellation, dispatcher, executor, parts } = this.#deps;
    agents.drain(agent);
    const { inside } = executor;
    for (const run of dispatcher.unstartedAt(agent)) cancellation.stop(run, 'shutdown-release', 'draining');
    parts.waits?.sweep();
    await agent.untilIdle(inside);
  }
}

/** The handlers of an agent's task definitions beside its own. */
function withDefinitions(profile: AgentProfile): AgentProfile {
  checkObject(profile, 'an agent');
  const { tasks, handler } = profile;
  if (tasks === undefined) return profile;
  if (typeof handler === 'function') {
    throw invalid('An agent with task definitions takes no handler for all types', 'Give handlers by type.');
  }
  return { ...profile, handler: { ...handlersOf(tasks), ...handler } };
}
