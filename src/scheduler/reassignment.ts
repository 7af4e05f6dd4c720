import { checkArray, checkId, checkRecord, reading } from '../core/check.ts';
import type { Operations } from '../core/operations.ts';
import type { Order } from '../core/ports/sessions.ts';
import type { Consequences, TaskStore } from '../core/ports/tasks.ts';
import type { AgentRegistry } from './agent-registry.ts';
import type { Run, RunHome } from './agent.ts';
import type { Cancellation } from './cancellation.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { Executor } from './executor.ts';
import { obeyOrders } from './orders.ts';
import type { Settler } from './settler.ts';
import { runOf, type TaskLookup } from './task-lookup.ts';

export interface ReassignmentDeps {
  readonly store: TaskStore;
  readonly operations: () => Operations;
  readonly agents: AgentRegistry;
  readonly dispatcher: Dispatcher;
  readonly executor: Executor;
  readonly settler: Settler;
  readonly cancellation: Cancellation;
  readonly lookup: TaskLookup;
  readonly home: RunHome;
  readonly consequences: (answer: Consequences) => void;
}

/** Takes claimed tasks from where they are: for another agent, for the queue, or because the store says so. */
export class Reassignment {
  readonly #deps: ReassignmentDeps;

  constructor(deps: ReassignmentDeps) {
    this.#deps = deps;
  }

  /** Gives an unended task to an agent, wherever it stands. @throws UNKNOWN_TASK, UNKNOWN_AGENT */
  async move(taskId: string, agentId: string): Promise<void> {
    const { agents, executor, lookup, operations, store } = this.#deps;
    const agent = agents.named(checkId(agentId, 'agentId'));
    const record = await lookup.known(taskId);
    const run = runOf(record) ?? executor.externals.get(taskId);
    if (agent !== undefined && run?.agent === agent) return;
    if (run !== undefined) {
      const stored = run.untilSettled();
      run.extras.moveTo = agentId;
      run.claimed.home.stop(run, 'agent-left', `moved to ${agentId}`);
      await stored;
      agents.checkWelcome(agentId);
    }
    const revision = { set: 'agent', agent: agentId } as const;
    const answer = await operations().run((op) =>
      store.revise(op, { filter: { ids: [taskId] }, revision, limit: 1 }),
    );
    this.#deps.consequences(answer);
    this.#deps.dispatcher.wake();
  }

  /** Moves unstarted tasks from one run queue to another: those the target may run, the last to start first. Returns their ids. */
  steal(from: string, to: string, count: number, maxMoves: number): readonly string[] {
    const { agents, dispatcher } = this.#deps;
    const source = agents.get(from);
    const target = agents.get(to);
    if (source === undefined || target === undefined || target.gone || target.draining || source === target)
      return [];
    const moved: string[] = [];
    for (const run of source.queue.toReversed()) {
      if (moved.length >= count) break;
      if (run.settings.only === true || run.facts.moves >= maxMoves || !target.canDo(run.claim.body))
        continue;
      if (run.settings.exclude?.includes(to) === true) continue;
      // A listener that was told of the last move may have changed the queue.
      if (!source.dequeue(run)) continue;
      agents.queued(source, -1);
      run.extras.moves += 1;
      moved.push(run.id);
      dispatcher.pass(run, target, `from ${from}`);
    }
    return moved;
  }

  /** Gives back what was taken from a queue and hasn't begun. */
  giveBack(queue: string): void {
    const { dispatcher, cancellation } = this.#deps;
    for (const run of dispatcher.unstarted())
      if (run.claim.body.queue === queue)
        cancellation.stop(run, 'shutdown-release', `queue ${queue} is paused`);
  }

  /** What is claimed here and hasn't begun goes back, to come again as its record says now. Resolves to how many. */
  async redecide(ids: ReadonlySet<string>): Promise<number> {
    const { dispatcher, cancellation, settler } = this.#deps;
    const runs = dispatcher.unstarted().filter((run) => ids.has(run.id));
    const stored = runs.map((run) => run.untilSettled());
    for (const run of runs) cancellation.stop(run, 'shutdown-release', 'it was changed');
    settler.flush();
    const results = await Promise.all(stored);
    return results.filter((result) => result?.status === 'settled').length;
  }

  /** Stops what the store wants stopped. Returns whether it wants all drained. @throws INVALID_ARGUMENT */
  obey(given: readonly Order[]): boolean {
    const list = checkArray(given, 'the orders') as readonly Order[];
    const orders = reading('the orders', () => Array.from(list, (order) => checkRecord(order, 'an order')));
    obeyOrders(orders, this.#allRuns(), this.#deps.home);
    return orders.some(({ kind }) => kind === 'drain' || kind === 'upgrade');
  }

  *#allRuns(): Generator<Run> {
    const { dispatcher, agents } = this.#deps;
    yield* dispatcher.unstarted();
    for (const agent of agents.busy()) yield* agent.runs();
  }
}
