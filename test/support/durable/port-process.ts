import type { Backend } from '../../../src/core/ports/backend.ts';
import type {
  Claim,
  NewTask,
  Settlement,
  SettleResult,
  TaskRecord,
  TaskStore,
} from '../../../src/core/ports/tasks.ts';
import type { Operation, SessionNumber } from '../../../src/core/ports/words.ts';
import { EMPTY_REPORT } from '../../../src/core/empty-report.ts';
import { createRuntime } from '../../../src/core/runtime/runtime.ts';
import { ownBackend, type World } from './stores.ts';

/** A process that calls the task store itself, so that it can do in whichever order what a manager never would. */
export class PortProcess {
  readonly backend: Backend;
  readonly tasks: TaskStore;
  readonly session: SessionNumber;
  #sequence = 0;

  private constructor(backend: Backend, tasks: TaskStore, session: SessionNumber) {
    this.backend = backend;
    this.tasks = tasks;
    this.session = session;
  }

  static async start(world: World, leaseMs: number, boot?: string): Promise<PortProcess> {
    const backend = ownBackend(world);
    const runtime = createRuntime();
    await backend.start(runtime);
    const request = { boot: boot ?? runtime.ids.next(), leaseMs, writer: 1, report: EMPTY_REPORT };
    const { session } = await backend.sessions.open(request);
    return new PortProcess(backend, backend.tasks, session);
  }

  op(): Operation {
    this.#sequence += 1;
    return { session: this.session, sequence: this.#sequence };
  }

  task(id: string, more: Partial<NewTask> = {}): NewTask {
    return {
      id,
      queue: 'work',
      type: 'step',
      priority: 2,
      capabilities: [],
      weight: 1,
      payload: {},
      named: true,
      dependsOn: [],
      limits: { maxCrashes: 3, keepMs: 600_000 },
      ...more,
    };
  }

  async enqueue(id: string, more: Partial<NewTask> = {}): Promise<string> {
    const { results } = await this.tasks.enqueue(this.op(), [this.task(id, more)]);
    return results[0]?.status ?? 'none';
  }

  /** @param start how many of them come back started */
  async claim(limit = 1, start = limit): Promise<readonly Claim[]> {
    const offers = [{ capabilities: [], slots: limit }];
    return (await this.tasks.claim(this.op(), { offers, agents: [], assigned: 0, limit, start })).claims;
  }

  async settle(settlement: Settlement): Promise<SettleResult | undefined> {
    return (await this.tasks.settle(this.op(), [settlement])).results[0];
  }

  async record(id: string): Promise<TaskRecord | undefined> {
    return (await this.tasks.get([id]))[0];
  }
}
