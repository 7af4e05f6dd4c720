import { isPromise } from '../core/awaitable.ts';
import { checkId } from '../core/check.ts';
import { CoordinationError } from '../core/errors.ts';
import type { Runtime } from '../core/ports/runtime.ts';
import type { TaskRecord, TaskStore } from '../core/ports/tasks.ts';
import type { Awaitable, Cursor } from '../core/ports/words.ts';
import { runNode } from '../core/run-node.ts';
import type { Agent, Run } from './agent.ts';
import type { AgentRegistry } from './agent-registry.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { Outcome } from './outcome.ts';
import type { Company, SchedulerParts } from './parts.ts';
import type { Placement } from './placement.ts';
import { type Shutdown, stopped } from './shutdown.ts';
import type { Slots } from './slots.ts';
import { DuplicateHandle, type HandleHost, LocalHandle } from './task-handle.ts';
import { outcomeOf, toView } from './task-view.ts';
import type { TaskHandle, TaskView, WaitReason } from './types.ts';
import { whyTask } from './why.ts';

export interface TaskLookupDeps {
  readonly runtime: Runtime;
  readonly store: TaskStore;
  readonly parts: SchedulerParts;
  readonly agents: AgentRegistry;
  readonly dispatcher: Dispatcher;
  readonly slots: Slots;
  readonly placement: Placement;
  readonly shutdown: Shutdown;
  readonly company: Company;
  readonly host: HandleHost;
}

/** Tells what is known of tasks: by the store's record, and by the run of those that are claimed here. */
export class TaskLookup {
  readonly #deps: TaskLookupDeps;

  constructor(deps: TaskLookupDeps) {
    this.#deps = deps;
  }

  record(id: string): Promise<TaskRecord | undefined> {
    const records: Awaitable<readonly (TaskRecord | undefined)[]> = this.#deps.store.get([id]);
    return isPromise(records) ? records.then(([record]) => record) : Promise.resolve(records[0]);
  }

  /** @throws UNKNOWN_TASK */
  async known(id: string): Promise<TaskRecord> {
    const record = await this.record(checkId(id, 'taskId'));
    if (record === undefined) throw unknownTask(id);
    return record;
  }

  async view(id: string): Promise<TaskView | undefined> {
    const record = await this.record(checkId(id, 'taskId'));
    return record === undefined ? undefined : toView(record, runOf(record));
  }

  /** @throws UNKNOWN_TASK */
  async status(id: string): Promise<TaskView> {
    const record = await this.known(id);
    return toView(record, runOf(record));
  }

  /** @throws UNKNOWN_TASK */
  async handle(id: string): Promise<TaskHandle> {
    const { local } = await this.known(id);
    return new DuplicateHandle(id, this.#deps.host, local instanceof LocalHandle ? local : undefined);
  }

  /** How a task has ended; `undefined`: it hasn't. @throws UNKNOWN_TASK */
  async outcome(id: string): Promise<Outcome | undefined> {
    const record = await this.record(id);
    if (this.#deps.shutdown.isStopped) {
      return { state: 'cancelled', error: stopped(`Task ${id} is out of reach`) };
    }
    if (record === undefined) throw unknownTask(id);
    return outcomeOf(record);
  }

  /** What is assigned to an agent or runs there. An unknown agent has nothing. */
  async ofAgent(agentId: string): Promise<TaskView[]> {
    const agent = this.#deps.agents.get(checkId(agentId, 'agentId'));
    if (agent === undefined) return [];
    const ids = this.#runsOf(agent).map((run) => run.id);
    if (ids.length === 0) return [];
    const records = await this.#deps.store.get(ids);
    return records.filter((record) => record !== undefined).map((record) => toView(record, runOf(record)));
  }

  /** @throws UNKNOWN_TASK */
  async why(id: string): Promise<WaitReason> {
    const { runtime, store, parts, agents, placement, shutdown, slots, company } = this.#deps;
    const reason = await whyTask(checkId(id, 'taskId'), {
      record: (one) => this.record(one),
      run: runOf,
      agents: () => agents.all(),
      queue: async (name) => (await store.counts([name])).queues[0],
      claimedOf: (queue, group, most) => this.#claimedOf(queue, group, most),
      freeInProcess: () => slots.free,
      strategy: () => placement.current.name,
      drained: () => shutdown.isDrained,
      company,
      breakerMs: (name) => parts.breaker?.(name).closedInMs() ?? 0,
      elsewhere: (one) => parts.locks?.why(runNode(one)) ?? [],
      now: () => runtime.clock.wall() * 1_000,
      mono: () => runtime.clock.mono(),
    });
    if (reason === undefined) throw unknownTask(id);
    return reason;
  }

  /** Whether a task waits for another one, over whatever is between them. */
  async isBehind(id: string, other: string): Promise<boolean> {
    const { chain } = await this.why(id);
    return chain.some(({ kind, subject, holder }) => {
      return holder === other || ((kind === 'dependency' || kind === 'child') && subject === other);
    });
  }

  #runsOf(agent: Agent): readonly Run[] {
    return [...this.#deps.dispatcher.unstartedAt(agent), ...agent.runs()];
  }

  async #claimedOf(queue: string, group: string, most: number): Promise<number> {
    let found = 0;
    let after: Cursor | undefined;
    do {
      const page = await this.#deps.store.list(
        { queue, group, state: ['claimed'] },
        { limit: 1_000, ...(after === undefined ? {} : { after }) },
      );
      found += page.items.length;
      after = page.next;
    } while (after !== undefined && found < most);
    return found;
  }
}

/** The attempt of a task that is under way in this process. */
export function runOf(record: TaskRecord): Run | undefined {
  return record.local instanceof LocalHandle ? record.local.run : undefined;
}

export function unknownTask(id: string): CoordinationError {
  return new CoordinationError('UNKNOWN_TASK', `No task ${JSON.stringify(id)} is known`, {
    hint: 'It was never submitted, or its time to be kept is over.',
  });
}
