import assert from 'node:assert/strict';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { createMemoryCore } from '../../src/backends/memory/memory-core.ts';
import { MemoryTaskStore } from '../../src/backends/memory/task-store.ts';
import type { Claim, FailurePolicy, NewTask, Settlement } from '../../src/core/ports/tasks.ts';
import type { SessionNumber } from '../../src/core/ports/words.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';
import { REPORT } from '../../src/testing/suites/caller.ts';
import {
  hasEnded,
  type ModelSpec,
  type ModelTask,
  rankOf,
  STEP_MS,
  TaskModel,
} from '../support/task-model.ts';

const LEASE_MS = 500;
const QUEUES = ['q', 'r'];
const IDS = Array.from({ length: 9 }, (_, i) => `t${i}`);

/** How often the interesting things happened, over all runs. */
const seen = {
  commands: 0,
  claimed: 0,
  stale: 0,
  cascaded: 0,
  taken: 0,
  replaced: 0,
  cycles: 0,
  redriven: 0,
  crashed: 0,
  full: 0,
};

interface Worker {
  session: SessionNumber;
  sequence: number;
  silent: boolean;
}

/** The store under test: two workers that may die, and one that looks after them. */
class Real {
  #boots = 0;
  readonly clock = createTestClock(1_700_000_000_000);
  readonly core = createMemoryCore({ clock: this.clock });
  readonly store = new MemoryTaskStore(this.core, { history: 100 });
  readonly keeper: Worker = this.open();
  readonly workers: Worker[] = [this.open(), this.open()];
  /** Claims as they were received, the current and the old. */
  claims: Claim[] = [];
  lastToken = 0;

  constructor() {
    for (const queue of QUEUES)
      this.store.configure(this.op(this.keeper), queue, undefined, { paused: false, ageStepMs: STEP_MS });
  }

  open(): Worker {
    this.#boots += 1;
    const boot = `boot-${this.#boots}`;
    const { session } = this.core.sessions.open({ boot, leaseMs: LEASE_MS, writer: 1, report: REPORT });
    return { session, sequence: 0, silent: false };
  }

  op(worker: Worker): { session: SessionNumber; sequence: number } {
    worker.sequence += 1;
    return { session: worker.session, sequence: worker.sequence };
  }

  pass(ms: number): void {
    for (let left = ms; left > 0; left -= 200) {
      this.clock.tick(Math.min(left, 200));
      for (const worker of [this.keeper, ...this.workers]) {
        if (!worker.silent) this.core.sessions.beat(worker.session, REPORT);
      }
    }
  }
}

class Command implements fc.Command<TaskModel, Real> {
  readonly #name: string;
  readonly #act: (model: TaskModel, real: Real) => void;

  constructor(name: string, act: (model: TaskModel, real: Real) => void) {
    this.#name = name;
    this.#act = act;
  }

  check(): boolean {
    return true;
  }

  run(model: TaskModel, real: Real): void {
    model.call += 1;
    seen.commands += 1;
    this.#act(model, real);
    compare(model, real);
  }

  toString(): string {
    return this.#name;
  }
}

function command<T>(
  name: string,
  args: fc.Arbitrary<T>,
  act: (model: TaskModel, real: Real, args: T) => void,
): fc.Arbitrary<Command> {
  return args.map(
    (value) => new Command(`${name} ${JSON.stringify(value)}`, (model, real) => act(model, real, value)),
  );
}

const id = fc.constantFrom(...IDS);
const maybe = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.option(value, { nil: undefined, freq: 2 });
/** Undefined five times out of six. */
const seldom = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.oneof({ weight: 5, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: value });
const capabilities = fc.constantFrom<readonly string[]>([], [], [], ['x'], ['x', 'y']);

const edges = fc.uniqueArray(
  fc.record({ parent: id, onFailure: fc.constantFrom<FailurePolicy>('cancel', 'skip', 'wait', 'continue') }),
  { minLength: 1, maxLength: 3, selector: ({ parent }) => parent },
);
const spec: fc.Arbitrary<ModelSpec> = fc.record({
  id,
  queue: fc.constantFrom(...QUEUES),
  capabilities,
  payload: fc.constantFrom(1, 1, 1, 2),
  priority: fc.integer({ min: -2, max: 2 }),
  keepMs: fc.constantFrom(100, 100_000),
  maxCrashes: fc.constantFrom(0, 1),
  deadlineMs: seldom(fc.constantFrom(150, 1_000)),
  delayMs: seldom(fc.constantFrom(0, 50, 300)),
  key: maybe(fc.constantFrom('k1', 'k2')),
  group: seldom(fc.constantFrom('g', 'h')),
  agent: seldom(fc.constantFrom('ann', 'bob')),
  parent: seldom(id),
  onDuplicate: maybe(fc.constantFrom('replace', 'debounce')),
  dependsOn: fc.oneof({ weight: 3, arbitrary: fc.constant([]) }, { weight: 2, arbitrary: edges }),
});

/** Of the first commands below: enqueue, claim, start, settle, close, expire, takeover. */
const WEIGHTS = [6, 9, 2, 4, 2, 2, 5];

function toTask(one: ModelSpec): NewTask {
  const { keepMs, maxCrashes, deadlineMs, ...rest } = one;
  const defined = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined));
  return {
    type: 't',
    weight: 1,
    ...(defined as Omit<ModelSpec, 'keepMs' | 'maxCrashes' | 'deadlineMs'>),
    limits: { keepMs, maxCrashes, ...(deadlineMs === undefined ? {} : { deadlineMs }) },
  } as NewTask;
}

const commands: fc.Arbitrary<Command>[] = [
  command('enqueue', fc.array(spec, { minLength: 1, maxLength: 4 }), (model, real, specs) => {
    const { results } = real.store.enqueue(real.op(real.keeper), specs.map(toTask));
    for (const [i, one] of specs.entries()) {
      const expected = model.enqueue(one);
      const result = results[i];
      assert.ok(result !== undefined);
      const got = result.status === 'enqueued' ? `enqueued ${result.state}` : result.status;
      assert.equal(got, expected);
      if (result.status === 'cycle') {
        seen.cycles += 1;
        assert.equal(result.path[0], one.id);
        assert.equal(result.path.at(-1), one.id);
      }
      if (result.status === 'full') seen.full += 1;
      if (result.status === 'duplicate' && result.replaced) seen.replaced += 1;
    }
    model.drain();
  }),
  command(
    'claim',
    fc.record({
      worker: fc.nat(1),
      capabilities: fc.constantFrom<readonly string[]>([], ['x'], ['y', 'x'], ['x', 'y']),
      limit: fc.constantFrom(0, 1, 2, 3, 4),
      start: fc.constantFrom(0, 1, 4),
      agents: fc.subarray(['ann', 'bob']),
      queues: seldom(
        fc.array(fc.record({ queue: fc.constantFrom(...QUEUES), limit: fc.integer({ min: 0, max: 2 }) }), {
          maxLength: 2,
        }),
      ),
    }),
    (model, real, request) => {
      const worker = real.workers[request.worker] as Worker;
      const unique = request.queues?.filter(
        ({ queue }, i, all) => all.findIndex((one) => one.queue === queue) === i,
      );
      const answer = real.store.claim(real.op(worker), {
        offers: [{ capabilities: request.capabilities, slots: 9 }],
        agents: request.agents,
        assigned: 2,
        limit: request.limit,
        start: request.start,
        ...(unique === undefined ? {} : { queues: unique }),
      });
      checkClaims(
        model,
        real,
        worker,
        { ...request, queues: unique ?? QUEUES.map((queue) => ({ queue, limit: 99 })) },
        answer,
      );
    },
  ),
  command('start', fc.nat(99), (model, real, pick) => {
    const claim = real.claims[pick % Math.max(1, real.claims.length)];
    if (claim === undefined) return;
    const { started } = real.store.start(real.op(real.keeper), [claim]);
    const task = model.find(claim.task);
    const isCurrent = task?.state === 'claimed' && task.token === claim.token;
    assert.deepEqual(started, [isCurrent]);
    if (isCurrent) task.started = true;
  }),
  command(
    'settle',
    fc.array(
      fc.record({
        pick: fc.nat(99),
        as: fc.constantFrom('complete', 'complete', 'bury', 'retry', 'release', 'cancel'),
        delayMs: fc.constantFrom(0, 0, 80),
        refund: fc.boolean(),
        toAgent: maybe(fc.constantFrom('ann', null)),
        plain: fc.boolean(),
      }),
      { minLength: 1, maxLength: 3 },
    ),
    (model, real, picks) => {
      if (real.claims.length === 0) return;
      const settlements = picks.map((pick) =>
        toSettlement(real.claims[pick.pick % real.claims.length] as Claim, pick),
      );
      const { results } = real.store.settle(real.op(real.keeper), settlements);
      for (const [i, settlement] of settlements.entries())
        assert.deepEqual(settleModel(model, settlement), results[i]?.status);
      model.drain();
      for (const [i, { claim }] of settlements.entries()) {
        const result = results[i];
        if (result?.status === 'stale') seen.stale += 1;
        if (result?.status === 'stale') assert.notEqual(result.token, claim.token);
      }
    },
  ),
  command('close', fc.nat(1), (model, real, which) => {
    const worker = real.workers[which] as Worker;
    real.core.sessions.close(worker.session);
    model.endSession(worker.session, 'close');
    model.drain();
    real.workers[which] = real.open();
  }),
  command('expire', fc.nat(1), (model, real, which) => {
    const worker = real.workers[which] as Worker;
    worker.silent = true;
    real.pass(LEASE_MS + 100);
    model.now += LEASE_MS + 100;
    model.endSession(worker.session, 'expire');
    sweepBoth(model, real);
    real.workers[which] = real.open();
  }),
  command(
    'takeover',
    fc.record({
      worker: fc.nat(1),
      dead: fc.boolean(),
      limit: fc.integer({ min: 1, max: 3 }),
      maxMoves: fc.constantFrom(1, 2),
    }),
    (model, real, { worker: which, dead, limit, maxMoves }) => {
      const [worker, other] = [real.workers[which] as Worker, real.workers[1 - which] as Worker];
      const { claims } = real.store.takeover(real.op(worker), {
        from: dead ? 'dead' : { idle: other.session },
        match: 'any',
        limit,
        maxMoves,
        steal: 's',
      });
      const eligible = model.tasks.filter((task) => {
        if (task.state !== 'claimed' || model.settings.get(task.queue)?.paused === true) return false;
        return dead
          ? model.dead.has(task.session)
          : task.session === other.session && !task.started && task.moves < maxMoves;
      });
      assert.equal(claims.length, Math.min(limit, eligible.length), 'as many as there are');
      for (const claim of claims) takeModel(model, real, eligible, claim, worker.session);
    },
  ),
  command(
    'cancel',
    fc.record({ id, tree: fc.boolean(), revoke: fc.boolean() }),
    (model, real, { id, tree, revoke }) => {
      const { results } = real.store.cancel(real.op(real.keeper), [{ task: id, reason: 'r', tree, revoke }]);
      const task = model.find(id);
      if (task === undefined) {
        assert.equal(results[0]?.status, 'unknown');
        return;
      }
      let expected = 'ended';
      if (!hasEnded(task)) expected = model.cancelOne(task, 'r', revoke) ? 'cancelled' : 'requested';
      if (tree) model.cancelTree(id, 'r', revoke);
      model.drain();
      assert.equal(results[0]?.status, expected);
    },
  ),
  command(
    'priority',
    fc.record({ ids: fc.subarray(IDS), priority: fc.integer({ min: -3, max: 3 }) }),
    (model, real, { ids, priority }) => {
      const answer = real.store.revise(real.op(real.keeper), {
        filter: { ids },
        revision: { set: 'priority', priority },
        limit: 100,
      });
      const changes = found(model, ids).map((task) => model.reprioritise(task, priority));
      assert.equal(answer.changed, changes.filter((change) => change === 'changed').length);
      assert.equal(answer.deferred, changes.filter((change) => change === 'deferred').length);
    },
  ),
  command(
    'redelay',
    fc.record({ ids: fc.subarray(IDS), delayMs: fc.constantFrom(0, 60) }),
    (model, real, { ids, delayMs }) => {
      const answer = real.store.revise(real.op(real.keeper), {
        filter: { ids },
        revision: { set: 'delay', delayMs },
        limit: 100,
      });
      assert.equal(answer.changed, found(model, ids).filter((task) => model.redelay(task, delayMs)).length);
    },
  ),
  command(
    'pin',
    fc.record({ ids: fc.subarray(IDS), agent: fc.constantFrom('ann', null) }),
    (model, real, { ids, agent }) => {
      real.store.revise(real.op(real.keeper), {
        filter: { ids },
        revision: { set: 'agent', agent },
        limit: 100,
      });
      for (const task of found(model, ids))
        if (!hasEnded(task) && task.state !== 'claimed') task.agent = agent ?? undefined;
    },
  ),
  command(
    'redrive',
    fc.record({ ids: fc.subarray(IDS), delayMs: fc.constantFrom(0, 60), reset: fc.boolean() }),
    (model, real, { ids, delayMs, reset }) => {
      const answer = real.store.revise(real.op(real.keeper), {
        filter: { ids },
        revision: { set: 'redrive', delayMs, resetAttempts: reset, spreadMs: 0 },
        limit: 100,
      });
      const changed = found(model, ids).filter((task) => model.redrive(task, delayMs, reset)).length;
      assert.equal(answer.changed, changed);
      seen.redriven += changed;
    },
  ),
  command('discard', fc.subarray(IDS), (model, real, ids) => {
    real.store.revise(real.op(real.keeper), { filter: { ids }, revision: { set: 'discard' }, limit: 100 });
    for (const task of found(model, ids)) if (hasEnded(task)) model.prune(task);
  }),
  command(
    'configure',
    fc.record({
      queue: fc.constantFrom(...QUEUES),
      paused: fc.constantFrom(false, false, false, false, false, true),
      maxLength: maybe(fc.constantFrom(2, 4)),
      maxRunning: maybe(fc.constantFrom(1, 2)),
      maxRunningPerGroup: maybe(fc.constantFrom(1, 2)),
    }),
    (model, real, { queue, ...rest }) => {
      const settings = Object.fromEntries(
        Object.entries(rest).filter(([, value]) => value !== undefined),
      ) as { paused: boolean };
      real.store.configure(real.op(real.keeper), queue, undefined, { ...settings, ageStepMs: STEP_MS });
      model.settings.set(queue, settings);
    },
  ),
  command('pass', fc.constantFrom(0, 10, 70, 200), (model, real, ms) => {
    real.pass(ms);
    model.now += ms;
  }),
  command('sweep', fc.constant(0), (model, real) => sweepBoth(model, real)),
];

/** What moves tasks on comes more often than what stands in its way. */
const weighted = commands.flatMap((one, i) => Array.from({ length: WEIGHTS[i] ?? 1 }, () => one));

function found(model: TaskModel, ids: readonly string[]): ModelTask[] {
  return model.tasks.filter((task) => ids.includes(task.id));
}

function sweepBoth(model: TaskModel, real: Real): void {
  while (real.store.sweep(real.op(real.keeper), 1_000).more);
  model.sweep();
}

/** Every claim had to be the best there was, and whatever is left had no room. */
function checkClaims(
  model: TaskModel,
  real: Real,
  worker: Worker,
  request: {
    readonly capabilities: readonly string[];
    readonly agents: readonly string[];
    readonly limit: number;
    readonly start: number;
    readonly queues: readonly { readonly queue: string; readonly limit: number }[];
  },
  { claims, more }: { readonly claims: readonly Claim[]; readonly more: boolean },
): void {
  const left = new Map(request.queues.map(({ queue, limit }) => [queue, limit]));
  const takeable = (queue: string, agents: readonly string[] | undefined): ModelTask[] =>
    model.claimable(queue, request.capabilities, agents).filter((task) => model.hasRoom(task));
  let byOffer = 0;
  let byAgent = 0;
  for (const claim of claims) {
    const task = model.find(claim.task);
    assert.ok(task !== undefined && task.state === 'ready', `T3: ${claim.task} was ready`);
    assert.ok(claim.token > real.lastToken, 'T3: tokens strictly increase');
    real.lastToken = claim.token;
    assert.ok(left.has(task.queue), 'its queue was named');
    const isPinned = task.agent !== undefined;
    const rivals = takeable(task.queue, isPinned ? request.agents : undefined).filter(
      ({ agent }) => agent === task.agent,
    );
    const [best] = rivals;
    assert.ok(best !== undefined && rivals.includes(task), 'it may run here');
    assert.deepEqual(
      [rankOf(task), task.arrival],
      [rankOf(best), best.arrival],
      'T7: nobody is overtaken but by age and priority',
    );
    const started = !isPinned && byOffer < request.start;
    if (isPinned) byAgent += 1;
    else {
      byOffer += 1;
      left.set(task.queue, (left.get(task.queue) ?? 0) - 1);
      assert.ok((left.get(task.queue) ?? 0) >= 0, 'the limit of the queue');
    }
    model.claim(task, worker.session, claim.token, started);
    assert.deepEqual(
      [claim.attempt, claim.started, claim.session],
      [task.attempt, started, worker.session],
      'T5',
    );
    real.claims.push(claim);
    seen.claimed += 1;
  }
  assert.ok(byOffer <= request.limit && byAgent <= 2);
  const open = request.queues.filter(({ queue }) => (left.get(queue) ?? 0) > 0);
  if (byOffer < request.limit)
    assert.deepEqual(
      open.flatMap(({ queue }) => takeable(queue, undefined)),
      [],
      'no slot was left empty',
    );
  if (byAgent < 2 && request.agents.length > 0) {
    assert.deepEqual(
      request.queues.flatMap(({ queue }) => takeable(queue, request.agents)),
      [],
      'agents got their own',
    );
  }
  if (!more && request.limit > 0) {
    assert.deepEqual(
      request.queues.flatMap(({ queue }) => takeable(queue, undefined)),
      [],
      'nothing more means nothing more',
    );
  }
}

interface Pick {
  readonly as: 'complete' | 'bury' | 'retry' | 'release' | 'cancel';
  readonly delayMs: number;
  readonly refund: boolean;
  readonly toAgent: string | null | undefined;
  readonly plain: boolean;
}

function toSettlement(known: Claim, { as, delayMs, refund, toAgent, plain }: Pick): Settlement {
  const claim = plain ? { session: known.session, task: known.task, token: known.token } : known;
  switch (as) {
    case 'complete':
      return { claim, as, result: 1 };
    case 'bury':
      return { claim, as, reason: 'r', error: 'e', signature: 's' };
    case 'retry':
      return { claim, as, delayMs, error: 'e' };
    case 'cancel':
      return { claim, as, reason: 'r' };
    default:
      return {
        claim,
        as,
        delayMs,
        reason: 'r',
        refundAttempt: refund,
        ...(toAgent === undefined ? {} : { toAgent }),
      };
  }
}

function settleModel(model: TaskModel, settlement: Settlement): string {
  const { claim } = settlement;
  const task = model.find(claim.task);
  if (task === undefined) return 'gone';
  if (task.token !== claim.token) return 'stale';
  if (task.state !== 'claimed') return 'settled';
  switch (settlement.as) {
    case 'complete':
      model.complete(task);
      break;
    case 'bury':
      model.bury(task);
      break;
    case 'retry':
      model.giveBack(task, settlement.delayMs, false);
      break;
    case 'cancel':
      model.cancelObeyed(task);
      break;
    case 'release':
      if (settlement.toAgent !== undefined && task.cancelRequested === undefined)
        task.agent = settlement.toAgent ?? undefined;
      model.giveBack(task, settlement.delayMs, settlement.refundAttempt);
  }
  return 'settled';
}

function takeModel(
  model: TaskModel,
  real: Real,
  eligible: readonly ModelTask[],
  claim: Claim,
  session: SessionNumber,
): void {
  const task = model.find(claim.task);
  assert.ok(task !== undefined && eligible.includes(task), 'only what may be taken');
  assert.ok(claim.token > real.lastToken, 'T3: tokens strictly increase');
  real.lastToken = claim.token;
  const wasStarted = task.started;
  if (!wasStarted) task.moves += 1;
  else if (!task.adopted) {
    task.crashes += 1;
    seen.crashed += 1;
  }
  task.adopted = wasStarted;
  task.session = session;
  task.token = claim.token;
  assert.deepEqual([claim.crashes, claim.moves, claim.started], [task.crashes, task.moves, wasStarted], 'T5');
  assert.equal(claim.poison, task.crashes > task.maxCrashes ? true : undefined);
  real.claims.push(claim);
  seen.taken += 1;
}

/** The whole visible state, after each call. */
function compare(model: TaskModel, real: Real): void {
  const records = real.store.get(IDS);
  for (const [i, id] of IDS.entries()) {
    const task = model.find(id);
    const record = records[i];
    assert.equal(record?.state, task?.state, `state of ${id}`);
    if (task === undefined || record === undefined) continue;
    const open = task.edges.filter((edge) => edge.open).map(({ parent }) => parent);
    if (task.state === 'cancelled' && task.unmet) seen.cascaded += 1;
    assert.deepEqual(
      [
        record.attempt,
        record.crashes,
        record.moves,
        record.started,
        record.body.priority,
        record.body.agent,
        record.body.key,
      ],
      [task.attempt, task.crashes, task.moves, task.started, task.priority, task.agent, task.key],
      `T5: record of ${id}`,
    );
    assert.deepEqual([record.waitingFor, record.waitingCount], [open, open.length], `parents of ${id}`);
    assert.equal(record.cancelRequested, task.cancelRequested);
    assert.equal(record.body.payload, task.payload, `T2: payload of ${id}`);
    assert.ok(task.terminal <= 1, 'T4: at most one terminal transition');
    if (task.state === 'scheduled')
      assert.equal((record.runAt ?? 0) / 1_000 - 1_700_000_000_000, task.due, `T8: due time of ${id}`);
  }
  let enqueued = 0;
  let pruned = 0;
  for (const { queue, states, totals, readyWeight } of real.store.counts().queues) {
    const sum = Object.values(states).reduce((a, b) => a + b, 0);
    assert.equal(sum + totals.pruned, totals.enqueued, 'T9: enqueued = states + pruned');
    for (const [state, count] of Object.entries(states)) {
      assert.equal(count, model.count(queue, state as ModelTask['state']), `T9: ${state} in ${queue}`);
    }
    assert.equal(readyWeight, states.ready);
    enqueued += totals.enqueued;
    pruned += totals.pruned;
  }
  assert.deepEqual([enqueued, pruned], [model.enqueued, model.pruned], 'T9');
}

describe('task store against its model', () => {
  test('T2, T3, T4, T5, T7, T8, T9: any sequence of calls does what the model does', () => {
    fc.assert(
      fc.property(fc.commands(weighted, { maxCommands: 50, size: 'max' }), (sequence) => {
        fc.modelRun(() => ({ model: new TaskModel(), real: new Real() }), sequence);
      }),
    );
  });

  afterAll(() => {
    const runs = fc.readConfigureGlobal()?.numRuns ?? 1_000;
    for (const [what, times] of Object.entries(seen)) {
      expect(times, `the runs had enough of: ${what}`).toBeGreaterThan(runs / 50);
    }
  });
});
