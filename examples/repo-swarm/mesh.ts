import {
  CoordinationManager,
  defineConflictStrategy,
  EventBus,
  MergeStrategy,
  OptimisticLockManager,
  type AgentProfile,
  type CoordinationEvent,
  type TaskHandle,
  type TaskSpec,
} from '../../src/index.ts';
import { isInOrder } from './lint.ts';
import { ToolDownError } from './tools.ts';

export { CoordinationError, isCoordinationError } from '../../src/index.ts';
export type {
  AgentProfile,
  CoordinationEvent,
  ResourceRequest,
  TaskContext,
  TaskSpec,
} from '../../src/index.ts';

/** Stands between the agents and a tool that is down now and then. */
export const FORMATTER = 'formatter';

/** One side of a conflict: which run made which text of a file, and from which version. */
export interface Side {
  readonly by: string;
  readonly text: string;
  readonly version: number;
}

/** The coordination of one run. Every call to the library that isn't made through a task's context is in this file. */
export class Mesh implements AsyncDisposable {
  /** Versions of files, for edits that hold nothing while they work. */
  readonly versions: OptimisticLockManager = new OptimisticLockManager();
  readonly #manager: CoordinationManager;

  private constructor(manager: CoordinationManager) {
    this.#manager = manager;
  }

  /**
   * @param concurrency tasks at the same time, over all agents
   * @param record is told every event
   */
  static async start(concurrency: number, record: (event: CoordinationEvent) => void): Promise<Mesh> {
    const events = new EventBus();
    events.tap(record);
    const manager = new CoordinationManager({
      events,
      resourceTimeout: 60_000,
      scheduling: { maxConcurrentTasks: concurrency },
      workStealing: { stealThreshold: 2, maxStealBatch: 4, stealInterval: 40 },
      shutdown: { drainMs: 100 },
    });
    // Tasks that name this breaker wait while the tool is down. Other failures, a lost deadlock say, are none of its business.
    manager.breaker(FORMATTER, {
      failureThreshold: 3,
      successThreshold: 2,
      halfOpenLimit: 8, // one for each developer
      timeout: 60,
      classify: ({ ok, error }) => (ok ? 'success' : error instanceof ToolDownError ? 'failure' : 'ignore'),
    });
    manager.conflicts.registerStrategy(checkedMerge);
    await manager.initialize();
    return new Mesh(manager);
  }

  addAgent(profile: AgentProfile): void {
    this.#manager.registerAgent(profile);
  }

  submit(task: TaskSpec): Promise<TaskHandle> {
    return this.#manager.submitTask(task);
  }

  async submitAll(tasks: readonly TaskSpec[]): Promise<void> {
    await this.#manager.submitTasks(tasks);
  }

  /** Gives a task to one agent; others may steal it until it is started. */
  async assign(task: TaskSpec, agentId: string): Promise<void> {
    await this.#manager.assignTask(task, agentId);
  }

  async send(from: string, to: string, message: unknown): Promise<void> {
    await this.#manager.sendMessage(from, to, message);
  }

  /** Handles what an agent is sent; requests get what `handle` returns. */
  answer(agentId: string, handle: (message: unknown) => unknown): void {
    this.#manager.subscribe(agentId, async (message) => {
      const reply = handle(message.payload);
      if (reply !== undefined) await message.reply(reply);
    });
  }

  /**
   * Two runs changed the same version of a file: has their texts merged. `undefined` when both changed the same lines; then the one whose
   * text isn't written yet has to start over.
   */
  async settle(path: string, base: string, mine: Side, theirs: Side): Promise<string | undefined> {
    const { conflicts } = this.#manager;
    const sides = [mine, theirs];
    const conflict = await conflicts.reportVersionConflict(
      path,
      sides.map(({ by }) => by),
      {
        contents: { base, theirs: new Map(sides.map(({ by, text }) => [by, text])) },
        versions: new Map(sides.map(({ by, version }) => [by, version])),
        currentVersion: theirs.version,
      },
    );
    const resolution = await conflicts.autoResolve(conflict.id);
    return resolution.merged;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#manager.shutdown();
  }
}

const textMerge = new MergeStrategy();

/** The library's three-way merge, and a look at what came out: a clean merge of texts isn't always a file in order. Takes the place of the built-in `merge`. */
const checkedMerge = defineConflictStrategy({
  name: 'merge',
  resolve(conflict, facts) {
    const decision = textMerge.resolve(conflict, facts);
    if (
      decision === undefined ||
      'escalate' in decision ||
      isInOrder(conflict.subject, decision.merged ?? '')
    ) {
      return decision;
    }
    return { escalate: 'the merged text is not in order' };
  },
});
