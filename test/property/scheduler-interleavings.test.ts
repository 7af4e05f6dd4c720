import assert from 'node:assert/strict';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { isCoordinationError } from '../../src/core/errors.ts';
import { EventBus } from '../../src/core/event-bus.ts';
import type { CoordinationEvent } from '../../src/core/events.ts';
import type { Backend } from '../../src/core/ports/backend.ts';
import type { Clock } from '../../src/core/ports/runtime.ts';
import type { TaskStore } from '../../src/core/ports/tasks.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { AdvancedTaskScheduler } from '../../src/scheduler/scheduler.ts';
import type { TaskContext } from '../../src/scheduler/types.ts';
import { delayed } from '../../src/testing/wrappers.ts';
import { createScheduler } from '../support/mesh.ts';

const GRACE_MS = 30;
const SLOTS = 1;
const TERMINAL = ['task:completed', 'task:buried', 'task:cancelled', 'task:skipped'];

interface TaskPlan {
  /** Attempts that fail before one succeeds. */
  readonly fails: number;
  readonly stubborn: boolean;
  /** Throws synchronously instead of rejecting. */
  readonly sync: boolean;
  readonly timeout: boolean;
  readonly child: boolean;
  readonly nap: boolean;
  readonly delay: boolean;
  readonly agent: string | undefined;
  /** Waits for the one before it. */
  readonly after: boolean;
}

const taskPlan: fc.Arbitrary<TaskPlan> = fc.record({
  fails: fc.constantFrom(0, 0, 1, 3),
  stubborn: fc.constantFrom(true, true, false),
  sync: fc.boolean(),
  timeout: fc.boolean(),
  child: fc.constantFrom(false, false, true),
  nap: fc.constantFrom(false, false, true),
  delay: fc.constantFrom(false, false, true),
  agent: fc.constantFrom(undefined, undefined, 'a', 'a', 'b', 'ext'),
  after: fc.constantFrom(false, false, true),
});

type Act =
  | { readonly do: 'cancel' | 'move'; readonly task: number }
  | { readonly do: 'leave' | 'join' | 'steal' | 'drain' | 'pause' | 'resume' | 'reschedule' | 'shutdown' }
  | { readonly do: 'tick'; readonly ms: number };

const act: fc.Arbitrary<Act> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constantFrom('cancel' as const, 'move' as const), task: fc.nat(9) }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constantFrom(
        'leave' as const,
        'leave' as const,
        'join' as const,
        'steal' as const,
        'drain' as const,
        'pause' as const,
        'resume' as const,
        'reschedule' as const,
      ),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ do: 'shutdown' as const }) },
  { weight: 6, arbitrary: fc.constant({ do: 'steal' as const }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('tick' as const), ms: fc.constantFrom(1, 10, 40) }) },
);

/** What a promise has come to; only errors of this library are expected. */
interface Watch {
  state: 'pending' | 'resolved' | 'rejected';
  error: unknown;
}

/** In how many runs of both properties the interesting things happened. */
const INTERESTING = [
  'shutdown',
  'left',
  'cancelledRunning',
  'retried',
  'timedOut',
  'abandoned',
  'stolen',
] as const;
const seen = new Map<string, number>();
let runs = 0;

function count(world: World): void {
  runs += 1;
  for (const what of world.seen) seen.set(what, (seen.get(what) ?? 0) + 1);
}

/** A scheduler, its handlers, and all that was promised. */
class World {
  readonly scheduler: AdvancedTaskScheduler;
  readonly mesh = createScheduler();
  readonly events: CoordinationEvent[] = [];
  readonly seen = new Set<(typeof INTERESTING)[number]>();
  readonly promises: (Watch & { readonly what: string })[] = [];
  readonly results = new Map<string, Watch>();
  readonly #live = new Map<string, { abandoned: boolean; agent: string }>();
  readonly #tokens = new Set<number>();
  readonly #pause: (label: string) => Promise<void>;
  #failure: unknown;
  #joined = 0;
  isShutDown = false;
  readonly isLate: boolean;

  /** @param pause how a handler spends its time */
  constructor(pause: (label: string) => Promise<void>, wrap?: (store: TaskStore, clock: Clock) => TaskStore) {
    this.#pause = pause;
    this.isLate = wrap !== undefined;
    const { runtime, operations, clock, store } = this.mesh;
    const bus = new EventBus({ clock });
    bus.tap((event) => {
      this.events.push(event);
      this.#guard(() => this.#hear(event));
    });
    this.scheduler = new AdvancedTaskScheduler(
      { graceMs: GRACE_MS, retry: { maxAttempts: 3, delayMs: 5, jitter: 'none' } },
      bus,
      runtime.logger,
      { runtime, operations, store: wrap?.(store, clock) ?? store },
    );
    this.join('a');
    this.join('b');
  }

  #guard(check: () => void): void {
    try {
      check();
    } catch (error) {
      this.#failure ??= error;
    }
  }

  #hear(event: CoordinationEvent): void {
    switch (event.name) {
      case 'task:abandoned': {
        this.seen.add('abandoned');
        const live = this.#live.get(event.payload.taskId);
        if (live !== undefined) live.abandoned = true;
        return;
      }
      case 'task:assigned': {
        const { taskId, agentId, claim } = event.payload;
        if (agentId !== 'ext') return;
        // An external agent answers when it gets round to it, right or wrong.
        const answered = this.#pause(`ext ${taskId}`).then(() =>
          taskId.endsWith('1')
            ? this.scheduler.failTask(taskId, 'no', claim)
            : this.scheduler.completeTask(taskId, 'ext', claim),
        );
        this.watch(`answer for ${taskId}`, answered);
        return;
      }
      case 'task:failed':
        if (event.payload.code === 'TASK_TIMEOUT') this.seen.add('timedOut');
        return;
      case 'task:retried':
        this.seen.add('retried');
        return;
      case 'system:error':
      case 'listener:failed':
        assert.fail(`${event.name} ${JSON.stringify(event.payload)}`);
    }
  }

  watch(what: string, promise: Promise<unknown>): Watch {
    const watched: Watch & { what: string } = { what, state: 'pending', error: undefined };
    promise.then(
      () => (watched.state = 'resolved'),
      (error: unknown) => Object.assign(watched, { state: 'rejected', error }),
    );
    this.promises.push(watched);
    return watched;
  }

  join(id: string): void {
    this.#joined += 1;
    const boot = `${id} ${this.#joined}`;
    try {
      this.scheduler.registerAgent({
        id,
        maxConcurrentTasks: SLOTS,
        handler: (context) => this.#run(context, boot),
      });
    } catch (error) {
      assert.ok(isCoordinationError(error), 'registered already, or shut down');
    }
  }

  /** Counts who runs, synchronously, before anything can happen in between. */
  #run(context: TaskContext, boot: string): Promise<string> {
    const { task, token, attempt } = context;
    const plan = task.input as TaskPlan;
    const call = { abandoned: false, agent: boot };
    this.#guard(() => {
      const twin = this.#live.get(task.id);
      assert.ok(twin === undefined || twin.abandoned, `T3: two live runs of ${task.id}`);
      assert.ok(!this.#tokens.has(token), `W1: ${task.id} ran twice for one claim`);
      this.#tokens.add(token);
    });
    this.#live.set(task.id, call);
    const leave = (): void => {
      if (this.#live.get(task.id) === call) this.#live.delete(task.id);
    };
    if (plan.sync && attempt <= plan.fails) {
      leave();
      throw new Error('synchronously');
    }
    if (!plan.nap && !plan.child) {
      this.#guard(() => {
        const own = [...this.#live.values()].filter(({ agent, abandoned }) => agent === boot && !abandoned);
        // Children and naps lend slots out; those are counted by the model test.
        if (own.length > SLOTS)
          assert.ok(this.#lent, `T10: ${own.length} handlers on ${SLOTS} slots of ${boot}`);
      });
    } else this.#lent = true;
    return this.#work(context, plan).finally(leave);
  }
  #lent = false;

  async #work({ task, attempt, signal, sleep, submit }: TaskContext, plan: TaskPlan): Promise<string> {
    if (plan.nap) await sleep(3);
    if (plan.child && attempt === 1) {
      const child = await submit({
        id: `${task.id}-child`,
        type: 't',
        input: { ...plan, child: false, nap: false },
      });
      // Told to stop, the handler hears that instead of what becomes of the child.
      await this.#settled(`wait for ${child.id}`, child.result());
    }
    const done = this.#pause(`${task.id} ${attempt}`);
    await (plan.stubborn ? done : Promise.race([done, aborted(signal)]));
    if (attempt <= plan.fails) throw new Error('not yet');
    return task.id;
  }

  async #settled(what: string, promise: Promise<unknown>): Promise<void> {
    this.watch(what, promise);
    await promise.catch(() => undefined);
  }

  submit(plans: readonly TaskPlan[]): void {
    for (const [i, plan] of plans.entries()) {
      const id = `t${i}`;
      const spec = {
        id,
        type: 't',
        input: plan,
        ...(plan.timeout ? { timeoutMs: 20 } : {}),
        ...(plan.delay ? { delayMs: 5 } : {}),
        ...(plan.after && i > 0
          ? { dependencies: [{ task: `t${i - 1}`, onFailure: 'continue' as const }] }
          : {}),
      };
      const submitted =
        plan.agent === undefined
          ? this.scheduler.submitTask(spec)
          : this.scheduler.assignTask(spec, plan.agent);
      this.watch(
        `submission of ${id}`,
        submitted.then((handle) => {
          this.results.set(id, this.watch(`result of ${id}`, handle.result()));
        }),
      );
    }
  }

  act(one: Act, plans: number): void {
    const { scheduler, mesh } = this;
    switch (one.do) {
      case 'cancel': {
        const id = `t${one.task % plans}`;
        if (this.#live.has(id)) this.seen.add('cancelledRunning');
        this.watch(one.do, scheduler.cancelTask(id));
        return;
      }
      case 'move':
        this.watch(one.do, scheduler.moveTask(`t${one.task % plans}`, 'b'));
        return;
      case 'leave':
        if ([...this.#live.values()].some(({ agent }) => agent.startsWith('a'))) this.seen.add('left');
        this.watch(one.do, scheduler.unregisterAgent('a'));
        return;
      case 'join':
        return this.join('a');
      case 'steal':
        if (scheduler.steal('a', 'b', 2).length > 0) this.seen.add('stolen');
        return;
      case 'drain':
        this.join('c');
        this.watch(one.do, scheduler.rescheduleAgentTasks('c'));
        return;
      case 'reschedule':
        this.watch(one.do, scheduler.rescheduleAgentTasks('b'));
        return;
      case 'pause':
        this.watch(one.do, scheduler.queues.pause('t'));
        return;
      case 'resume':
        this.watch(one.do, scheduler.queues.resume('t'));
        return;
      case 'shutdown':
        this.isShutDown = true;
        this.seen.add('shutdown');
        this.watch(one.do, scheduler.shutdown({ drainMs: 10, then: plans % 2 === 0 ? 'abort' : 'release' }));
        return;
      case 'tick':
        mesh.clock.tick(one.ms);
    }
  }

  /** Gives everything that is left the chance to end. */
  async finish(idle: () => Promise<void>): Promise<void> {
    const { clock } = this.mesh;
    await idle();
    // A pause that is still on its way would come after the resume.
    await clock.advance(100);
    await idle();
    if (!this.isShutDown) {
      this.watch('resume', this.scheduler.queues.resume('t'));
      this.join('a');
      this.join('b');
      this.watch('idleness', this.scheduler.onIdle());
    }
    for (let round = 0; round < 60 && !this.#isQuiet(); round++) {
      await idle();
      await clock.advance(25);
    }
    const down = this.watch('shutdown', this.scheduler.shutdown({ drainMs: 5 }));
    for (let round = 0; round < 10 && down.state === 'pending'; round++) {
      await idle();
      await clock.advance(25);
    }
    await idle();
  }

  #isQuiet(): boolean {
    return this.promises.every(({ state }) => state !== 'pending');
  }

  check(): void {
    if (this.#failure !== undefined) throw this.#failure;
    for (const { what, state, error } of this.promises) {
      assert.notEqual(state, 'pending', `${what} settles`);
      if (state === 'rejected') assert.ok(isCoordinationError(error), `${what}: ${String(error)}`);
    }
    this.#checkEnds();
    for (const { states, totals } of this.mesh.store.counts().queues) {
      const sum = Object.values(states).reduce((a, b) => a + b, 0);
      assert.equal(sum + totals.pruned, totals.enqueued, 'T9: enqueued = states + pruned');
      // On a late store a claim may be given back and its task be cancelled at the same time.
      if (!this.isLate)
        assert.equal(totals.staleSettles, 0, 'T4: nobody answers for what is not his any more');
      if (!this.isShutDown)
        assert.equal(
          states.claimed + states.ready + states.scheduled + states.waiting,
          0,
          'T1: nothing is left behind',
        );
      assert.equal(states.claimed, 0, 'what was claimed has ended or was given back');
    }
    const { running, queued, zombies } = this.scheduler.getSchedulingMetrics();
    assert.deepEqual({ running, queued, zombies }, { running: 0, queued: 0, zombies: 0 }, 'T10');
    assert.equal(this.mesh.clock.nextDue(), Number.POSITIVE_INFINITY, 'G6: no timer is left');
  }

  /** T4: each task ends once, and its result says how. */
  #checkEnds(): void {
    const ends = new Map<string, string[]>();
    for (const { name, payload } of this.events) {
      if (!TERMINAL.includes(name)) continue;
      const { taskId } = payload as { taskId: string };
      ends.set(taskId, [...(ends.get(taskId) ?? []), name]);
    }
    for (const [id, { state, error }] of this.results) {
      const [end, ...more] = ends.get(id) ?? [];
      assert.deepEqual(more, [], `T4: ${id} ends once`);
      const code = isCoordinationError(error) ? error.code : state;
      const codes: Record<string, string> = {
        'task:completed': 'resolved',
        'task:buried': 'TASK_FAILED',
        'task:cancelled': 'TASK_CANCELLED',
        'task:skipped': 'TASK_SKIPPED',
      };
      // What ends after the mesh is nothing that anybody waits for any more.
      if (this.isShutDown && code === 'STOPPED') continue;
      assert.equal(code, codes[end ?? ''], `T1, T4: the result of ${id}`);
    }
  }
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason as Error);
    signal.addEventListener('abort', () => reject(signal.reason as Error));
  });
}

const plans = fc.array(taskPlan, { minLength: 2, maxLength: 6 });
const acts = fc.array(act, { minLength: 2, maxLength: 8 });

describe('the scheduler under any interleaving', () => {
  test('T1, T3, T4, T9, T10, W1: handlers that settle in any order, among cancellations, timeouts, leaving agents and shutdown', async () => {
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), plans, acts, async (order, tasks, actions) => {
        const world = new World((label) => order.schedule(Promise.resolve(), label));
        const idle = async (): Promise<void> => {
          do {
            await order.waitIdle();
            await world.mesh.clock.settle();
          } while (order.count() > 0);
        };
        world.submit(tasks);
        for (const one of actions)
          void order
            .schedule(Promise.resolve(), JSON.stringify(one))
            .then(() => world.act(one, tasks.length));
        await world.finish(idle);
        world.check();
        count(world);
      }),
    );
  });

  test('T1, T3, T4, T9, T10, W1: the same over a store whose every answer comes late: nothing is lost, nothing runs twice', async () => {
    const timing = fc.record({
      seed: fc.nat(),
      maxMs: fc.constantFrom(1, 4, 15),
      gaps: fc.array(fc.nat(12), { minLength: 8, maxLength: 8 }),
    });
    await fc.assert(
      fc.asyncProperty(timing, plans, acts, async ({ seed, maxMs, gaps }, tasks, actions) => {
        const random = createRandom(seed);
        const world: World = new World(
          () => new Promise((resolve) => void world.mesh.clock.after(random.next() * 20, resolve)),
          (store, clock) =>
            delayed({ tasks: store } as unknown as Backend, { clock, random, maxMs }).tasks as TaskStore,
        );
        const { clock } = world.mesh;
        world.submit(tasks);
        for (const [i, one] of actions.entries()) {
          await clock.advance(gaps[i] ?? 0);
          world.act(one, tasks.length);
        }
        await world.finish(() => clock.settle());
        world.check();
        count(world);
      }),
    );
  });

  afterAll(() => {
    const shares = INTERESTING.map((what) => [what, (seen.get(what) ?? 0) / runs] as const);
    console.info({ runs, ...Object.fromEntries(shares) });
    for (const [what, share] of shares) expect(share, `enough runs had: ${what}`).toBeGreaterThan(0.05);
  });
});
