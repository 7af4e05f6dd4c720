import assert from 'node:assert/strict';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import type { TaskState } from '../../src/core/ports/tasks.ts';
import type { TaskContext, TaskHandle } from '../../src/scheduler/types.ts';
import { createScheduler } from '../support/mesh.ts';
import {
  type AgentModel,
  FAILURE_POLICIES,
  GLOBAL_SLOTS,
  GRACE_MS,
  type RunModel,
  SchedulerModel,
  type Seen,
} from '../support/scheduler-model.ts';
import { hasEnded, type ModelTask, STEP_MS } from '../support/task-model.ts';

const QUEUES = ['q', 'r'];
const AGENTS = ['a', 'b', 'c'];
const KEEP_MS = 10_000_000;

/** In how many runs the interesting things happened. */
const seen = new Map<keyof Seen, number>();
let runs = 0;

/** A call of a handler. */
interface Call {
  readonly id: string;
  readonly agent: AgentModel | undefined;
  /** Between waits that lend the slot out. */
  napping: boolean;
  /** Told to stop during a wait: it goes on without a slot. */
  slotless: boolean;
  abandoned: boolean;
  end: ((how: How) => void) | undefined;
}

type How = 'value' | 'error' | 'fatal';

/** What a promise has come to. */
interface Watch {
  state: 'pending' | 'resolved' | 'rejected';
  code: string | undefined;
}

function watch(promise: Promise<unknown>): Watch {
  const seenSoFar: Watch = { state: 'pending', code: undefined };
  promise.then(
    () => Object.assign(seenSoFar, { state: 'resolved' }),
    (error: { code?: string }) => Object.assign(seenSoFar, { state: 'rejected', code: error.code }),
  );
  return seenSoFar;
}

/** The scheduler under test, with handlers that do as they are told. */
class Real {
  readonly mesh = createScheduler({
    graceMs: GRACE_MS,
    maxConcurrentTasks: GLOBAL_SLOTS,
    keepMs: KEEP_MS,
    agentSlots: 1,
  });
  readonly model: SchedulerModel;
  readonly calls = new Set<Call>();
  readonly handles = new Map<string, TaskHandle>();
  readonly results = new Map<string, Watch>();
  /** Leaves and drains: all of them end well. */
  readonly promises: Watch[] = [];
  /** Moves: all of them end, perhaps because the agent has left. */
  readonly moves: Watch[] = [];
  readonly agents = new Map<string, ReturnType<Real['mesh']['scheduler']['registerAgent']>>();
  readonly claims = new Map<string, string>();
  ids = 0;
  #failure: unknown;
  readonly #tokens = new Set<number>();

  constructor(model: SchedulerModel) {
    this.model = model;
    // A listener's error would only be reported: it is kept and thrown after the command.
    this.mesh.bus.tap((event) => {
      this.#guard(() => {
        if (event.name === 'task:assigned') this.claims.set(event.payload.taskId, event.payload.claim);
        model.hear(event);
        for (const id of model.abandoned.splice(0))
          for (const call of this.calls) if (call.id === id) call.abandoned = true;
      });
    });
  }

  #guard(check: () => void): void {
    try {
      check();
    } catch (error) {
      this.#failure ??= error;
    }
  }

  readonly handler = async (context: TaskContext): Promise<string> => {
    const { task, agentId, token, signal, sleep } = context;
    const { stubborn, napMs } = task.input as { stubborn: boolean; napMs?: number };
    const call: Call = {
      id: task.id,
      agent: this.model.agents.get(agentId),
      napping: false,
      slotless: false,
      abandoned: false,
      end: undefined,
    };
    this.#guard(() => {
      const twin = [...this.calls].find((other) => other.id === call.id && !other.abandoned);
      assert.equal(twin, undefined, `T3: two live runs of ${call.id}`);
      assert.ok(!this.#tokens.has(token), `W1: ${call.id} ran twice for one claim`);
      this.#tokens.add(token);
    });
    this.calls.add(call);
    try {
      this.#checkSlots();
      if (napMs !== undefined) {
        call.napping = true;
        try {
          await sleep(napMs);
        } catch (error) {
          if (!stubborn) throw error;
          call.slotless = true;
        } finally {
          call.napping = false;
        }
        this.#checkSlots();
      }
      await new Promise<void>((resolve, reject) => {
        call.end = (how) => {
          if (how === 'value') resolve();
          else reject(Object.assign(new Error(how), how === 'fatal' ? { retryable: false } : {}));
        };
        if (stubborn) return;
        if (signal.aborted) reject(signal.reason as Error);
        signal.addEventListener('abort', () => reject(signal.reason as Error));
      });
      return task.id;
    } finally {
      this.calls.delete(call);
    }
  };

  #checkSlots(): void {
    this.#guard(() => {
      const holders = [...this.calls].filter((call) => !call.napping && !call.slotless && !call.abandoned);
      assert.ok(holders.length <= GLOBAL_SLOTS, 'T10: never more handlers than slots over all agents');
      for (const [id, agent] of this.model.agents) {
        const { slots } = agent;
        const own = holders.filter((call) => call.agent === agent).length;
        assert.ok(own <= slots, `T10: ${own} handlers on ${slots} slots of ${id}`);
      }
    });
  }

  /** Lets everything happen that can happen now, and compares. */
  async rest(): Promise<void> {
    await this.mesh.clock.settle();
    if (this.#failure !== undefined) throw this.#failure;
    const napping = [...this.calls].filter((call) => (call.napping || call.slotless) && !call.abandoned);
    this.model.atRest(new Set(napping.map((call) => call.id)));
    this.#compare();
  }

  /** Moves time on, stopping at each moment at which something is due. */
  async pass(ms: number): Promise<void> {
    const { clock } = this.mesh;
    const end = clock.mono() + ms;
    // What is to be done at once, but not in this turn, is done within the next millisecond.
    for (let due = clock.nextDue(); due <= end || due <= clock.mono() + 1; due = clock.nextDue()) {
      await this.#arrive(due);
    }
    await this.#arrive(Math.max(end, clock.mono()));
  }

  async #arrive(at: number): Promise<void> {
    const { clock } = this.mesh;
    this.model.arrive(at);
    clock.tick(at - clock.mono());
    await this.rest();
  }

  #compare(): void {
    const { scheduler, store } = this.mesh;
    const { model } = this;
    const records = store.get(model.tasks.tasks.map(({ id }) => id));
    for (const [i, task] of model.tasks.tasks.entries()) {
      const record = records[i];
      assert.ok(record !== undefined, `T1: ${task.id} is there`);
      // Claimed, but nobody would take it: for everybody else it is ready.
      const state = task.state === 'ready' && record.state === 'claimed' ? 'ready' : record.state;
      assert.equal(state, task.state, `state of ${task.id}`);
      assert.equal(record.body.agent, task.agent, `T5: pin of ${task.id}`);
      // Attempts are counted at the claim, also of one that nobody would take and that ended so.
      const claimedIdly =
        hasEnded(task) &&
        record.attempt === task.attempt + 1 &&
        (task.agent === undefined || model.isOnly(task));
      if (record.state === task.state && !claimedIdly)
        assert.equal(record.attempt, task.attempt, `T5: attempts of ${task.id}`);
      this.#compareResult(task);
    }
    this.#compareCounts();
    const { running, queued } = scheduler.getSchedulingMetrics();
    const modelled = [...model.runs.values()];
    const lent = [...this.calls].filter(
      ({ napping, slotless, id, abandoned }) => (napping || slotless) && !abandoned && model.runs.has(id),
    );
    assert.equal(
      running,
      modelled.filter(({ phase }) => phase === 'running').length - lent.length,
      'T10: slots taken',
    );
    assert.equal(queued, modelled.filter(({ phase }) => phase === 'queued').length, 'run queues');
  }

  #compareResult(task: ModelTask): void {
    const result = this.results.get(task.id);
    const expected: Partial<Record<TaskState, string>> = {
      dead: 'TASK_FAILED',
      cancelled: 'TASK_CANCELLED',
      skipped: 'TASK_SKIPPED',
    };
    let state: Watch['state'] = 'pending';
    if (hasEnded(task)) state = task.state === 'completed' ? 'resolved' : 'rejected';
    assert.deepEqual(result, { state, code: expected[task.state] }, `result of ${task.id}, ${task.state}`);
  }

  #compareCounts(): void {
    const { tasks } = this.model;
    let enqueued = 0;
    for (const { queue, states, totals } of this.mesh.store.counts().queues) {
      const sum = Object.values(states).reduce((a, b) => a + b, 0);
      assert.equal(sum + totals.pruned, totals.enqueued, 'T9: enqueued = states + pruned');
      for (const state of ['waiting', 'scheduled', 'completed', 'dead', 'cancelled', 'skipped'] as const) {
        assert.equal(states[state], tasks.count(queue, state), `T9: ${state} in ${queue}`);
      }
      assert.equal(
        states.ready + states.claimed,
        tasks.count(queue, 'ready', 'claimed'),
        `T9: live in ${queue}`,
      );
      enqueued += totals.enqueued;
    }
    assert.equal(enqueued, tasks.enqueued, 'T9');
  }

  /** Everything ends: with the scheduler, all promises are settled and no timer is left. */
  async end(): Promise<void> {
    const { scheduler, clock } = this.mesh;
    const down = watch(scheduler.shutdown({ drainMs: 10, then: 'release' }));
    await clock.advance(10);
    await clock.advance(GRACE_MS);
    assert.equal(down.state, 'resolved', 'shutdown ends');
    for (const [id, { state }] of this.results)
      assert.notEqual(state, 'pending', `the result of ${id} is settled`);
    for (const { state } of this.promises) assert.equal(state, 'resolved', 'leaves and drains end');
    for (const { state, code } of this.moves)
      assert.ok(state === 'resolved' || code === 'UNKNOWN_AGENT', 'moves end');
    for (const call of this.calls) call.end?.('value');
    await clock.settle();
    assert.equal(clock.nextDue(), Number.POSITIVE_INFINITY, 'G6: no timer is left');
    assert.equal(scheduler.getSchedulingMetrics().zombies, 0, 'T10: every abandoned handler is counted out');
  }
}

type Command = fc.AsyncCommand<SchedulerModel, Real>;

function command<A>(
  name: string,
  arbitrary: fc.Arbitrary<A>,
  run: (model: SchedulerModel, real: Real, args: A) => Promise<void> | void,
): fc.Arbitrary<Command> {
  return arbitrary.map((args) => ({
    check: () => true,
    run: async (model, real) => {
      model.tasks.call += 1;
      await run(model, real, args);
      await real.rest();
    },
    toString: () => `${name}(${JSON.stringify(args)})`,
  }));
}

const pick = fc.nat(1_000);

function picked<A>(all: Iterable<A>, index: number): A | undefined {
  const list = [...all];
  return list.length === 0 ? undefined : list[index % list.length];
}

/** Something out of the ordinary: once in `rarity` times. */
function rare<A>(rarity: number, arbitrary: fc.Arbitrary<A>): fc.Arbitrary<A | undefined> {
  return fc.oneof({ weight: rarity - 1, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary });
}

const parent = fc.record({ pick, onFailure: fc.constantFrom(...FAILURE_POLICIES) });

const spec = fc.record({
  /** Another submission of a task that is there. */
  again: rare(8, pick),
  queue: fc.constantFrom(...QUEUES),
  priority: fc.integer({ min: 0, max: 3 }),
  payload: fc.constantFrom(0, 0, 1),
  key: rare(6, fc.constantFrom('k', 'l')),
  gpu: fc.constantFrom(false, false, false, true),
  delayMs: rare(6, fc.constant(30)),
  deadlineMs: rare(6, fc.constant(90)),
  timeoutMs: rare(3, fc.constant(40)),
  parents: rare(3, fc.array(parent, { minLength: 1, maxLength: 2 })),
  exclude: rare(6, fc.constantFrom(...AGENTS)),
  maxAttempts: fc.constantFrom(1, 2, 3),
  stubborn: fc.constantFrom(false, false, true),
  napMs: rare(3, fc.constant(20)),
  /** Whom it is assigned to, and whether to them alone. */
  agent: fc.constantFrom(undefined, undefined, 'a', 'a', 'a', 'b', 'c', 'ext'),
  only: fc.constantFrom(false, false, false, true),
});

async function submit(
  model: SchedulerModel,
  real: Real,
  given: typeof spec extends fc.Arbitrary<infer S> ? S : never,
): Promise<void> {
  const { scheduler, clock } = real.mesh;
  const {
    agent,
    queue,
    priority,
    payload,
    key,
    deadlineMs,
    delayMs,
    timeoutMs,
    exclude,
    maxAttempts,
    stubborn,
    napMs,
  } = given;
  const id = picked(model.tasks.tasks, given.again ?? 0)?.id;
  const isAgain = given.again !== undefined && id !== undefined;
  const task = isAgain ? id : `t${real.ids}`;
  if (!isAgain) real.ids += 1;
  const parents = new Map(
    (given.parents ?? []).map((one) => [`t${one.pick % (real.ids + 1)}`, one.onFailure] as const),
  );
  const capabilities = given.gpu ? ['gpu'] : [];
  const isOnly = agent !== undefined && given.only;
  const input = { payload, stubborn, ...(napMs === undefined ? {} : { napMs }) };
  const request = {
    id: task,
    type: 't',
    queue,
    priority,
    input,
    capabilities,
    dependencies: [...parents].map(([parent, onFailure]) => ({ task: parent, onFailure })),
    retry: { maxAttempts, delayMs: 20, jitter: 'none' as const, factor: 1 },
    ...(key === undefined ? {} : { idempotencyKey: key }),
    ...(delayMs === undefined ? {} : { delayMs }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(deadlineMs === undefined ? {} : { deadline: new Date(clock.wall() + deadlineMs) }),
    ...(isOnly || exclude !== undefined
      ? {
          agents: {
            ...(isOnly ? { only: agent } : {}),
            ...(exclude === undefined ? {} : { exclude: [exclude] }),
          },
        }
      : {}),
  };
  const isNamed = agent !== undefined && !isOnly;
  if (isNamed && model.gone.has(agent)) {
    await assert.rejects(scheduler.assignTask(request, agent), { code: 'UNKNOWN_AGENT' });
    return;
  }
  const answer = model.tasks.enqueue({
    id: task,
    queue,
    capabilities,
    payload: JSON.stringify(input) as unknown as number,
    priority,
    keepMs: KEEP_MS,
    maxCrashes: 3,
    deadlineMs,
    delayMs,
    key,
    agent,
    dependsOn: [...parents].map(([parent, onFailure]) => ({ parent, onFailure })),
  });
  model.tasks.drain();
  const facts = { maxAttempts, retryMs: 20, timeoutMs, only: isOnly, exclude, stubborn, napMs };
  if (answer.startsWith('enqueued')) model.facts.set(task, facts);
  if (isNamed && !model.agents.has(agent) && !['conflict', 'cycle'].includes(answer)) implicit(model, agent);
  const submitted = isNamed ? scheduler.assignTask(request, agent) : scheduler.submitTask(request);
  if (answer === 'conflict') return assert.rejects(submitted, { code: 'IDEMPOTENCY_CONFLICT' }, 'T2');
  if (answer === 'cycle') return assert.rejects(submitted, { code: 'DEPENDENCY_CYCLE' });
  const handle = await submitted;
  const first = model.tasks.find(task) ?? model.tasks.tasks.find((other) => other.key === key);
  assert.equal(handle.id, first?.id, 'T2: the same key is the same task');
  assert.equal(handle.duplicate, answer === 'duplicate', 'T2');
  if (handle.duplicate) return;
  real.handles.set(task, handle);
  real.results.set(task, watch(handle.result()));
}

function implicit(model: SchedulerModel, id: string): void {
  model.agents.set(id, {
    id,
    slots: Number.POSITIVE_INFINITY,
    capabilities: [],
    external: true,
    implicit: true,
    draining: false,
    boot: model.boots++,
  });
}

function join(
  model: SchedulerModel,
  real: Real,
  agent: Omit<AgentModel, 'draining' | 'implicit' | 'boot'>,
): void {
  const { scheduler } = real.mesh;
  const { id, slots, capabilities, external } = agent;
  const profile = {
    id,
    capabilities,
    maxConcurrentTasks: slots,
    ...(external ? {} : { handler: real.handler }),
  };
  const known = model.agents.get(id);
  if (known !== undefined && !known.implicit) {
    assert.throws(() => scheduler.registerAgent(profile), { code: 'INVALID_ARGUMENT' });
    return;
  }
  // What runs there by name is more than it may take on: it is left to the tests of single cases.
  if (known !== undefined && model.runsOf(id, 'running').length > slots) return;
  const joined = { ...agent, implicit: false, draining: false, boot: model.boots++ };
  for (const run of model.runs.values()) if (run.boot === known?.boot) run.boot = joined.boot;
  model.agents.set(id, joined);
  model.gone.delete(id);
  if (known !== undefined && !external) model.handToHandler(joined);
  real.agents.set(id, scheduler.registerAgent(profile));
}

const agentSpec = fc.record({
  id: fc.constantFrom(...AGENTS, 'ext'),
  slots: fc.constantFrom(1, 1, 2),
  capabilities: fc.constantFrom([], ['gpu']),
  external: fc.constantFrom(false, false, false, true),
});

async function finish(model: SchedulerModel, real: Real, args: { pick: number; how: How }): Promise<void> {
  const call = picked(
    [...real.calls].filter(({ end }) => end !== undefined),
    args.pick,
  );
  if (call === undefined) return answer(model, real, { ...args, late: false });
  const run = model.runs.get(call.id);
  if (run !== undefined && !call.abandoned) model.conclude(run, args.how);
  call.end?.(args.how);
}

/** An external agent answers; perhaps with a claim that is not its own any more. */
async function answer(
  model: SchedulerModel,
  real: Real,
  { pick: index, how, late }: { pick: number; how: How; late: boolean },
): Promise<void> {
  const { scheduler } = real.mesh;
  const isExternal = (run: RunModel): boolean =>
    run.phase === 'running' ? run.external : model.agents.get(run.agent)?.external === true;
  const run = picked([...model.runs.values()].filter(isExternal), index);
  if (run === undefined) return;
  const { id } = run.task;
  if (late) {
    await assert.rejects(scheduler.completeTask(id, 1, '1.0'), { code: 'STALE_CLAIM' }, 'T4');
    return;
  }
  const claim = real.claims.get(id);
  const answered =
    how === 'value' ? scheduler.completeTask(id, 1, claim) : scheduler.failTask(id, new Error(how), claim);
  // It may answer before its turn in its run queue comes: then it begins and ends at once.
  if (run.phase === 'running') model.conclude(run, how === 'value' ? 'value' : 'error');
  else queueMicrotask(() => model.conclude(run, how === 'value' ? 'value' : 'error'));
  await answered;
}

const handled = { pick, how: fc.constantFrom<How>('value', 'value', 'value', 'error', 'error', 'fatal') };

const commands: readonly [number, fc.Arbitrary<Command>][] = [
  [10, command('submit', spec, submit)],
  [9, command('finish', fc.record(handled), finish)],
  [1, command('answer', fc.record({ ...handled, late: fc.boolean() }), answer)],
  [5, command('pass', fc.constantFrom(5, 20, 20, 45, 100), (_, real, ms) => real.pass(ms))],
  [3, command('join', agentSpec, join)],
  [
    2,
    command('leave', pick, async (model, real, index) => {
      const id = index % 7 === 0 ? 'ext' : (picked(model.agents.keys(), index) ?? 'c');
      const agent = model.agents.get(id);
      if (agent === undefined) {
        const left = real.mesh.scheduler.unregisterAgent(id);
        return model.gone.has(id) ? left : assert.rejects(left, { code: 'UNKNOWN_AGENT' });
      }
      model.leave(agent);
      real.promises.push(watch(real.mesh.scheduler.unregisterAgent(id)));
    }),
  ],
  [
    1,
    command('drain', fc.constantFrom(...AGENTS), (model, real, id) => {
      const agent = model.agents.get(id);
      const handle = real.agents.get(id);
      if (agent === undefined || agent.implicit || handle === undefined) return;
      model.drain(agent);
      real.promises.push(watch(handle.drain()));
    }),
  ],
  [
    3,
    command('cancel', pick, async (model, real, index) => {
      const task = picked(model.tasks.tasks, index);
      if (task === undefined) {
        await assert.rejects(real.mesh.scheduler.cancelTask('nobody'), { code: 'UNKNOWN_TASK' });
        return;
      }
      const hadEnded = hasEnded(task);
      model.cancel(task);
      const { status } = await real.mesh.scheduler.cancelTask(task.id, 'r');
      assert.equal(status === 'ended', hadEnded, 'T4');
      if (status === 'cancelled') assert.equal(task.state, 'cancelled');
    }),
  ],
  [
    2,
    command(
      'steal',
      fc.record({ from: pick, to: pick, count: fc.constantFrom(1, 2) }),
      (model, real, { from, to, count }) => {
        const busy = [...model.agents.values()].filter(({ id }) => model.runsOf(id, 'queued').length > 0);
        const source = picked(busy, from);
        const target = picked(
          [...model.agents.values()].filter((agent) => !agent.implicit && agent !== source),
          to,
        );
        if (source === undefined || target === undefined) return;
        const moved = real.mesh.scheduler.steal(source.id, target.id, count);
        assert.ok(moved.length <= count);
        for (const id of moved) model.steal(id, target);
      },
    ),
  ],
  [
    1,
    command('move', fc.record({ pick, to: pick }), (model, real, { pick: index, to }) => {
      const task = picked(
        model.tasks.tasks.filter((one) => !hasEnded(one)),
        index,
      );
      const agent = picked(
        [...model.agents.values()].filter(({ draining }) => !draining),
        to,
      );
      if (task === undefined || agent === undefined) return;
      model.move(task, agent);
      real.moves.push(watch(real.mesh.scheduler.moveTask(task.id, agent.id)));
    }),
  ],
  [
    1,
    command(
      'pause',
      fc.record({ queue: fc.constantFrom(...QUEUES), paused: fc.constantFrom(true, false, false) }),
      async (model, real, { queue, paused }) => {
        const { queues } = real.mesh.scheduler;
        model.tasks.settings.set(queue, { paused });
        if (paused) model.pause(queue);
        await (paused ? queues.pause(queue) : queues.resume(queue));
      },
    ),
  ],
  [
    1,
    command(
      'priority',
      fc.record({ pick, priority: fc.integer({ min: 0, max: 3 }) }),
      async (model, real, { pick: index, priority }) => {
        const task = picked(model.tasks.tasks, index);
        if (task === undefined) return;
        const parked = task.state === 'ready' && real.mesh.store.get([task.id])[0]?.state === 'claimed';
        // A claim that nobody takes keeps its place until it is given back, and then it is as new as any.
        if (parked) return;
        const change = model.reprioritise(task, priority);
        const { changed, deferred } = await real.mesh.scheduler.queues.reprioritise(
          { ids: [task.id] },
          priority,
        );
        assert.deepEqual([changed, deferred], [Number(change === 'changed'), Number(change === 'deferred')]);
      },
    ),
  ],
  [
    2,
    command(
      'redrive',
      fc.record({ pick, delayMs: fc.constantFrom(0, 30) }),
      async (model, real, { pick: index, delayMs }) => {
        const task = picked(
          model.tasks.tasks.filter(({ state }) => state === 'dead' || state === 'cancelled'),
          index,
        );
        if (task === undefined) return;
        const lives = model.redrive(task, delayMs);
        const { changed } = await real.mesh.scheduler.queues.redrive({ ids: [task.id] }, { delayMs });
        assert.equal(changed, Number(lives), `redriven ${task.id}`);
        // Who asks from now on learns the later outcome.
        if (lives) real.results.set(task.id, watch((real.handles.get(task.id) as TaskHandle).result()));
      },
    ),
  ],
];

async function begin(): Promise<{ model: SchedulerModel; real: Real }> {
  const model = new SchedulerModel();
  const real = new Real(model);
  for (const queue of QUEUES) await real.mesh.scheduler.queues.configure(queue, { ageStepMs: STEP_MS });
  join(model, real, { id: 'a', slots: 1, capabilities: [], external: false });
  join(model, real, { id: 'b', slots: 2, capabilities: ['gpu'], external: false });
  return { model, real };
}

describe('scheduler against its model', () => {
  test('T2, T3, T4, T5, T7, T8, T9, T10, W1, W3, W5: any sequence of calls does what the model does, and every result settles', async () => {
    const weighted = commands.flatMap(([weight, one]) => Array.from({ length: weight }, () => one));
    // Work to begin with, so that even a short sequence finds agents that are busy.
    const start = fc.array(spec, { minLength: 4, maxLength: 10 });
    const sequences = fc.commands(weighted, { maxCommands: 40, size: 'max' });
    await fc.assert(
      fc.asyncProperty(start, sequences, async (specs, sequence) => {
        const setup = await begin();
        for (const one of specs) {
          await submit(setup.model, setup.real, one);
          await setup.real.rest();
        }
        await fc.asyncModelRun(() => setup, sequence);
        await setup.real.end();
        runs += 1;
        for (const [what, happened] of Object.entries(setup.model.seen) as [keyof Seen, boolean][])
          if (happened) seen.set(what, (seen.get(what) ?? 0) + 1);
      }),
    );
  });

  afterAll(() => {
    const shares = Object.fromEntries(
      [...seen].map(([what, times]) => [what, `${((100 * times) / runs).toFixed(1)} %`]),
    );
    console.info({ runs, ...shares });
    for (const what of [
      'retried',
      'cancelledRunning',
      'stolen',
      'leftRunning',
      'timedOut',
      'abandoned',
      'redriven',
      'cascaded',
      'drained',
      'moved',
    ] as const) {
      expect((seen.get(what) ?? 0) / runs, `enough runs had: ${what}`).toBeGreaterThan(0.05);
    }
  });
});
