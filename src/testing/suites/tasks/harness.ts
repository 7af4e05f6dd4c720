import assert from 'node:assert/strict';
import { EMPTY_REPORT } from '../../../core/empty-report.ts';
import type { Sessions } from '../../../core/ports/sessions.ts';
import type {
  Claim,
  ClaimRequest,
  Consequences,
  Edge,
  EnqueueResult,
  NewTask,
  QueueCounts,
  QueueSettings,
  SettleResult,
  Settlement,
  TaskLimits,
  TaskRecord,
  TaskStore,
} from '../../../core/ports/tasks.ts';
import type { Operation, SessionNumber } from '../../../core/ports/words.ts';
import type { SuiteEnvironment, SuiteOptions } from '../suite.ts';

export const QUEUE = 'work';

/** What a test says of a task; the rest is filled in. */
export type Spec = Partial<Omit<NewTask, 'id' | 'dependsOn' | 'limits'>> & {
  readonly dependsOn?: readonly (string | Edge)[];
  readonly limits?: Partial<TaskLimits>;
};

/** A backend under test, and what tests need again and again. */
export class TaskHarness {
  readonly env: SuiteEnvironment;
  readonly store: TaskStore;
  readonly sessions: Sessions;
  /** The worker of tests that need only one. */
  readonly me: Worker;
  #boots = 0;

  private constructor(
    env: SuiteEnvironment,
    store: TaskStore,
    sessions: Sessions,
    me: (harness: TaskHarness) => Worker,
  ) {
    this.env = env;
    this.store = store;
    this.sessions = sessions;
    this.me = me(this);
  }

  static async create(options: SuiteOptions): Promise<TaskHarness> {
    const env = await options.create();
    const { tasks, sessions } = env.backend;
    assert.ok(tasks !== undefined && sessions !== undefined, 'a backend with tasks and sessions');
    const first = await sessions.open({ boot: 'boot-0', leaseMs: 600_000, writer: 1, report: EMPTY_REPORT });
    return new TaskHarness(env, tasks, sessions, (harness) => new Worker(harness, first.session));
  }

  /** Another session. Its lease outlasts the test unless told otherwise. */
  async worker(leaseMs = 600_000): Promise<Worker> {
    this.#boots += 1;
    const { session } = await this.sessions.open({
      boot: `boot-${this.#boots}`,
      leaseMs,
      writer: 1,
      report: EMPTY_REPORT,
    });
    return new Worker(this, session);
  }

  async orders(worker: Worker): Promise<readonly object[]> {
    const beat = await this.sessions.beat(worker.session, EMPTY_REPORT);
    return beat.status === 'alive' ? beat.orders : [];
  }

  get isReference(): boolean {
    return this.env.backend.capabilities.encoding === 'reference';
  }

  task(id: string, spec: Spec = {}): NewTask {
    const { dependsOn = [], limits, payload = {}, ...rest } = spec;
    const queue = rest.queue ?? QUEUE;
    const type = rest.type ?? 'step';
    return {
      id,
      queue,
      type,
      priority: 0,
      capabilities: [],
      weight: 1,
      ...rest,
      payload,
      named: true,
      dependsOn: dependsOn.map((edge) =>
        typeof edge === 'string' ? { parent: edge, onFailure: 'cancel' } : edge,
      ),
      limits: { maxCrashes: 3, keepMs: 600_000, ...limits },
    };
  }

  async record(id: string): Promise<TaskRecord> {
    const [record] = await this.store.get([id]);
    assert.ok(record !== undefined, `task ${id} is known`);
    return record;
  }

  async state(id: string): Promise<string> {
    const [record] = await this.store.get([id]);
    return record?.state ?? 'unknown';
  }

  async states(...ids: readonly string[]): Promise<readonly string[]> {
    const records = await this.store.get(ids);
    return records.map((record) => record?.state ?? 'unknown');
  }

  async counts(queue: string = QUEUE): Promise<QueueCounts> {
    const { queues } = await this.store.counts([queue]);
    assert.ok(queues[0] !== undefined);
    return queues[0];
  }

  /** T9, at any moment. */
  async checkConservation(): Promise<void> {
    const { queues } = await this.store.counts();
    for (const { queue, states, totals } of queues) {
      const sum = Object.values(states).reduce((a, b) => a + b, 0);
      assert.equal(sum + totals.pruned, totals.enqueued, `enqueued = states + pruned in queue ${queue}`);
      assert.ok(
        Object.values(states).every((count) => count >= 0),
        `no count below 0 in queue ${queue}`,
      );
    }
  }

  async configure(settings: Partial<QueueSettings>, queue: string = QUEUE): Promise<void> {
    const answer = await this.store.configure(this.me.op(), queue, undefined, {
      paused: false,
      ageStepMs: 10_000,
      ...settings,
    });
    assert.equal(answer.status, 'set');
  }
}

/** One session and its numbered operations. */
export class Worker {
  readonly session: SessionNumber;
  readonly #harness: TaskHarness;
  #sequence = 0;

  constructor(harness: TaskHarness, session: SessionNumber) {
    this.#harness = harness;
    this.session = session;
  }

  op(): Operation {
    this.#sequence += 1;
    return { session: this.session, sequence: this.#sequence };
  }

  async enqueue(
    ...tasks: readonly NewTask[]
  ): Promise<Consequences & { readonly results: readonly EnqueueResult[] }> {
    return this.#harness.store.enqueue(this.op(), tasks);
  }

  /** Enqueues one task and expects it to be new. */
  async add(id: string, spec: Spec = {}): Promise<string> {
    const { results } = await this.enqueue(this.#harness.task(id, spec));
    const [result] = results;
    assert.ok(result?.status === 'enqueued', `${id} enqueued, got ${JSON.stringify(result)}`);
    return result.state;
  }

  async claim(
    request: Partial<ClaimRequest> & { readonly capabilities?: readonly string[] } = {},
  ): Promise<readonly Claim[]> {
    return (await this.claimAnswer(request)).claims;
  }

  async claimAnswer({
    capabilities = [],
    ...request
  }: Partial<ClaimRequest> & { readonly capabilities?: readonly string[] } = {}): Promise<{
    readonly claims: readonly Claim[];
    readonly more: boolean;
  }> {
    const limit = request.limit ?? 100;
    return this.#harness.store.claim(this.op(), {
      offers: [{ capabilities, slots: limit }],
      agents: [],
      assigned: 100,
      limit,
      start: limit,
      ...request,
    });
  }

  /** Claims one task and expects it to be this one. */
  async claimOnly(id: string): Promise<Claim> {
    const claims = await this.claim();
    assert.deepEqual(
      claims.map(({ task }) => task),
      [id],
    );
    return claims[0] as Claim;
  }

  async settle(
    ...settlements: readonly Settlement[]
  ): Promise<Consequences & { readonly results: readonly SettleResult[] }> {
    return this.#harness.store.settle(this.op(), settlements);
  }

  async complete(
    ...claims: readonly Claim[]
  ): Promise<Consequences & { readonly results: readonly SettleResult[] }> {
    const result = 'done';
    return this.settle(...claims.map((claim) => ({ claim, as: 'complete' as const, result })));
  }

  async bury(
    claim: Claim,
    reason = 'ATTEMPTS',
  ): Promise<Consequences & { readonly results: readonly SettleResult[] }> {
    const error = { code: 'ERROR', name: 'Error', message: 'broken pipe' };
    return this.settle({ claim, as: 'bury', reason, error, signature: 'ERROR:broken' });
  }

  async release(
    claim: Claim,
    more: Partial<Extract<Settlement, { as: 'release' }>> = {},
  ): Promise<Consequences & { readonly results: readonly SettleResult[] }> {
    return this.settle({
      claim,
      as: 'release',
      delayMs: 0,
      reason: 'given back',
      refundAttempt: true,
      ...more,
    });
  }

  async retry(
    claim: Claim,
    delayMs = 0,
  ): Promise<Consequences & { readonly results: readonly SettleResult[] }> {
    return this.settle({ claim, as: 'retry', delayMs, error: { message: 'again' } });
  }

  /** Runs one ready task to its end; it has to be this one. */
  async run(id: string): Promise<Consequences> {
    return this.complete(await this.claimOnly(id));
  }

  async sweep(limit = 1_000): Promise<Awaited<ReturnType<TaskStore['sweep']>>> {
    return this.#harness.store.sweep(this.op(), limit);
  }

  /** Sweeps until nothing is left to do now. */
  async sweepAll(): Promise<void> {
    while ((await this.sweep()).more);
  }

  async cancel(
    task: string,
    more: { readonly tree?: boolean; readonly revoke?: boolean; readonly reason?: string } = {},
  ): Promise<Awaited<ReturnType<TaskStore['cancel']>>> {
    return this.#harness.store.cancel(this.op(), [
      { task, reason: 'unwanted', tree: false, revoke: false, ...more },
    ]);
  }

  async revise(
    ...[filter, revision, limit = 1_000, after]: [
      Parameters<TaskStore['revise']>[1]['filter'],
      Parameters<TaskStore['revise']>[1]['revision'],
      number?,
      Parameters<TaskStore['revise']>[1]['after']?,
    ]
  ): Promise<Awaited<ReturnType<TaskStore['revise']>>> {
    return this.#harness.store.revise(this.op(), {
      filter,
      revision,
      limit,
      ...(after === undefined ? {} : { after }),
    });
  }
}

/** Registers a test with a harness of its own; whatever it did, the counts must add up in the end (T9). */
export type TaskTest = (name: string, body: (harness: TaskHarness, me: Worker) => Promise<void>) => void;

export function taskTest(options: SuiteOptions): TaskTest {
  return (name, body) =>
    options.test(name, async () => {
      const harness = await TaskHarness.create(options);
      try {
        await body(harness, harness.me);
        await harness.checkConservation();
      } finally {
        await harness.env.stop();
      }
    });
}

export function idsOf(claims: readonly Claim[]): readonly string[] {
  return claims.map(({ task }) => task);
}

/** Rows of facts in an order of their own, where the order of the answer means nothing. */
export function sorted<T>(rows: readonly T[]): readonly T[] {
  const key = (row: T): string => JSON.stringify(row);
  return rows.toSorted((a, b) => (key(a) < key(b) ? -1 : 1));
}
