import assert from 'node:assert/strict';
import { afterAll, expect, test } from 'vitest';
import type { Backend } from '../../src/core/ports/backend.ts';
import type {
  Claim,
  FailurePolicy,
  NewTask,
  Revision,
  Settlement,
  TaskRecord,
  TaskStore,
} from '../../src/core/ports/tasks.ts';
import type { Operation, SessionNumber } from '../../src/core/ports/words.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { REPORT } from '../../src/testing/suites/caller.ts';
import type { SuiteEnvironment } from '../../src/testing/suites/suite.ts';
import { memoryEnvironment } from '../support/memory-environment.ts';
import { postgresEnvironment } from '../support/postgres-environment.ts';

/**
 * The memory store is the model: whatever happens to both, they answer alike. Sessions and tokens have other numbers; tasks that became
 * ready at the same time are equals, so a claim takes all there is.
 */

const QUEUES = ['q', 'r'];
const POLICIES: readonly FailurePolicy[] = ['cancel', 'skip', 'wait', 'continue'];
const RUNS = Number(process.env['MODEL_RUNS'] ?? 12);
const STEPS = 60;

const seen = new Map<string, number>();

interface Worker {
  session: SessionNumber;
  sequence: number;
}

/** One of the two stores, and the claims it gave out, by task and attempt of claiming. */
class Side {
  readonly env: SuiteEnvironment;
  readonly store: TaskStore;
  workers: Worker[] = [];
  claims: Claim[] = [];
  said: unknown;
  #boots = 0;

  constructor(env: SuiteEnvironment) {
    this.env = env;
    const { tasks } = env.backend;
    assert.ok(tasks !== undefined);
    this.store = tasks;
  }

  async open(): Promise<Worker> {
    const { sessions } = this.env.backend as Backend & Required<Pick<Backend, 'sessions'>>;
    this.#boots += 1;
    const boot = `boot-${this.#boots}`;
    const { session } = await sessions.open({ boot, leaseMs: 1e9, writer: 1, report: REPORT });
    return { session, sequence: 0 };
  }

  async replace(i: number): Promise<void> {
    const { sessions } = this.env.backend as Backend & Required<Pick<Backend, 'sessions'>>;
    const worker = this.workers[i];
    assert.ok(worker !== undefined);
    await sessions.close(worker.session);
    this.workers[i] = await this.open();
  }

  op(i = 0): Operation {
    const worker = this.workers[i];
    assert.ok(worker !== undefined);
    worker.sequence += 1;
    return { session: worker.session, sequence: worker.sequence };
  }
}

type Random = ReturnType<typeof createRandom>;

class Dice {
  readonly #random: Random;
  constructor(seed: string) {
    this.#random = createRandom(seed);
  }
  below(n: number): number {
    return Math.floor(this.#random.next() * n);
  }
  chance(p: number): boolean {
    return this.#random.next() < p;
  }
  of<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }
  some<T>(items: readonly T[], p: number): T[] {
    return items.filter(() => this.chance(p));
  }
}

/** What one step does to a side, and what of the answer must be equal. */
type Step = (side: Side) => Promise<unknown>;

const byTask = <T extends { readonly task: string }>(rows: readonly T[]): readonly T[] =>
  rows.toSorted((a, b) => (a.task < b.task ? -1 : 1));

function randomTask(dice: Dice, ids: readonly string[]): NewTask {
  const id = dice.of(ids);
  return {
    id,
    queue: dice.chance(0.7) ? 'q' : 'r',
    type: 'step',
    payload: dice.chance(0.85) ? 1 : 2,
    priority: dice.below(5) - 2,
    capabilities: dice.chance(0.2) ? ['gpu'] : [],
    weight: 1 + dice.below(3),
    named: true,
    dependsOn: [...new Set(dice.some(ids, 0.12))].map((parent) => ({ parent, onFailure: dice.of(POLICIES) })),
    limits: {
      maxCrashes: 1,
      keepMs: dice.of([40, 5_000]),
      // No sum of the times that pass: at the very µs a rounding decides.
      ...(dice.chance(0.1) ? { deadlineMs: 60.5 } : {}),
    },
    ...(dice.chance(0.2) ? { delayMs: 30 } : {}),
    ...(dice.chance(0.25) ? { key: dice.of(['k1', 'k2', 'k3']) } : {}),
    ...(dice.chance(0.2) ? { onDuplicate: dice.of(['replace', 'debounce'] as const) } : {}),
    ...(dice.chance(0.2) ? { group: dice.of(['g', 'h']) } : {}),
    ...(dice.chance(0.15) ? { agent: dice.of(['ann', 'bob']) } : {}),
    ...(dice.chance(0.2) ? { parent: dice.of(ids) } : {}),
  };
}

function enqueueStep(dice: Dice, ids: readonly string[]): Step {
  const tasks = Array.from({ length: 1 + dice.below(5) }, () => randomTask(dice, ids));
  return async (side) => {
    side.said = tasks;
    const { results, readied, ended } = await side.store.enqueue(side.op(), tasks);
    for (const { status } of results) count(status);
    return { results: results.map(comparable), readied: byTask(readied), ended: byTask(ended) };
  };
}

/** Any way around the cycle will do. */
function comparable(result: object & { readonly status: string }): object {
  return result.status === 'cycle' ? { status: 'cycle' } : { ...result, local: undefined };
}

function claimStep(dice: Dice, by = dice.below(2)): Step {
  const start = dice.of([0, 1_000]);
  const capabilities = dice.chance(0.7) ? ['gpu'] : [];
  const agents = dice.some(['ann', 'bob'], 0.6);
  return async (side) => {
    const { claims } = await side.store.claim(side.op(by), {
      offers: [{ capabilities, slots: 500 }],
      agents,
      assigned: 100,
      limit: 500,
      start,
    });
    side.claims.push(...claims);
    count('claimed', claims.length);
    return byTask(claims).map(({ task, attempt, crashes, moves, started, body, lastError, deadlineAt }) => ({
      task,
      attempt,
      crashes,
      moves,
      started,
      lastError,
      hasDeadline: deadlineAt !== undefined,
      body: {
        ...body,
        dependsOn: undefined,
        limits: undefined,
        named: undefined,
        delayMs: undefined,
        onDuplicate: undefined,
        headers: undefined,
        settings: undefined,
        placement: undefined,
        agent: body.agent,
        group: body.group,
        key: body.key,
        parent: body.parent,
      },
    }));
  };
}

function settleStep(dice: Dice, chosen: readonly { readonly task: string; readonly nth: number }[]): Step {
  const ways = chosen.map(() =>
    dice.of(['complete', 'complete', 'complete', 'retry', 'bury', 'release', 'cancel'] as const),
  );
  const delays = chosen.map(() => dice.of([0, 0, 25]));
  return async (side) => {
    const settlements = chosen.map(({ task, nth }, i): Settlement => {
      const claim = side.claims.filter((one) => one.task === task)[nth];
      assert.ok(claim !== undefined, 'both have given out the same claims');
      const delayMs = delays[i] as number;
      switch (ways[i]) {
        case 'retry':
          return { claim, as: 'retry', delayMs, error: { message: 'again' } };
        case 'bury':
          return { claim, as: 'bury', reason: 'R', error: 'broken', signature: 's' };
        case 'release':
          return {
            claim,
            as: 'release',
            delayMs,
            reason: 'back',
            refundAttempt: true,
            ...(delayMs === 25 ? { toAgent: null } : {}),
          };
        case 'cancel':
          return { claim, as: 'cancel', reason: 'obeyed' };
        default:
          return { claim, as: 'complete', result: { of: task } };
      }
    });
    const { results, readied, ended, opened } = await side.store.settle(side.op(), settlements);
    for (const { status } of results) count(status);
    return {
      results: results.map((one) => ({ ...one, token: 0 })),
      readied: byTask(readied),
      ended: byTask(ended).map(noLocal),
      opened,
    };
  };
}

function noLocal<T extends object>(row: T): T {
  return { ...row, local: undefined };
}

function cancelStep(dice: Dice, ids: readonly string[]): Step {
  const requests = Array.from({ length: 1 + dice.below(2) }, () => ({
    task: dice.of(ids),
    reason: 'unwanted',
    tree: dice.chance(0.5),
    revoke: dice.chance(0.3),
  }));
  return async (side) => {
    const { results, readied, ended, requested } = await side.store.cancel(side.op(), requests);
    count('cancelled', ended.length);
    return {
      results,
      readied: byTask(readied),
      ended: byTask(ended).map(noLocal),
      requested: byTask(requested).map(noLocal),
    };
  };
}

function reviseStep(dice: Dice, ids: readonly string[]): Step {
  const revision = dice.of<Revision>([
    { set: 'priority', priority: dice.below(5) },
    { set: 'payload', payload: 1 },
    { set: 'age', ageMs: 500 },
    { set: 'delay', delayMs: dice.of([0, 20]) },
    { set: 'agent', agent: dice.of([null, 'ann']) },
    { set: 'redrive', delayMs: dice.of([0, 10]), resetAttempts: dice.chance(0.5), spreadMs: 0 },
    { set: 'redrive', delayMs: 0, resetAttempts: true, spreadMs: 0 },
    { set: 'discard' },
  ]);
  const filter = dice.of([
    { ids: dice.some(ids, 0.4) },
    { state: ['dead', 'cancelled'] as const },
    { queue: 'q' },
  ]);
  return async (side) => {
    const { changed, deferred, readied, ended } = await side.store.revise(side.op(), {
      filter,
      revision,
      limit: 1_000,
    });
    count(revision.set, changed);
    return { changed, deferred, readied: byTask(readied), ended: byTask(ended).map(noLocal) };
  };
}

const sweepStep: Step = async (side) => {
  const out: object[] = [];
  for (;;) {
    const { readied, ended, pruned, deadSessions, more } = await side.store.sweep(side.op(), 1_000);
    count('pruned', pruned);
    out.push({ readied: byTask(readied), ended: byTask(ended).map(noLocal), pruned, deadSessions });
    if (!more) return out;
  }
};

function takeoverStep(dice: Dice, idle = dice.chance(0.5)): Step {
  return async (side) => {
    const victim = side.workers[1] as Worker;
    const { claims } = await side.store.takeover(side.op(0), {
      from: idle ? { idle: victim.session } : 'dead',
      match: 'any',
      limit: 500,
      maxMoves: 2,
      steal: 's',
    });
    side.claims.push(...claims);
    count('taken', claims.length);
    return byTask(claims).map(({ task, attempt, crashes, moves, started, poison }) => ({
      task,
      attempt,
      crashes,
      moves,
      started,
      poison,
    }));
  };
}

function configureStep(dice: Dice): Step {
  const queue = dice.of(QUEUES);
  const settings = {
    paused: dice.chance(0.1),
    ageStepMs: 10_000,
    ...(dice.chance(0.2) ? { maxLength: 6 } : {}),
  };
  return async (side) => (await side.store.configure(side.op(), queue, undefined, settings)).status;
}

/** Everything that both must agree on afterwards. */
async function picture(side: Side, ids: readonly string[]): Promise<unknown> {
  const records = await side.store.get(ids);
  const { queues } = await side.store.counts(QUEUES);
  const history = await Promise.all(
    ids.map(async (task, i) =>
      records[i] === undefined ? [] : (await side.store.history({ task }, { limit: 1_000 })).items,
    ),
  );
  return {
    records: records.map((record) => record && { ...plain(record) }),
    counts: queues.map(({ queue, states, totals, readyWeight, revision }) => ({
      queue,
      states,
      totals,
      readyWeight: Math.round(readyWeight * 100),
      revision,
    })),
    history: history.map((items, i) =>
      lastLife(items, records[i]).map(({ from, to, attempt, reason }) => ({ from, to, attempt, reason })),
    ),
  };
}

/** Memory also keeps what happened to an earlier task of the id. */
function lastLife<T extends { readonly from: string }>(
  items: readonly T[],
  record: TaskRecord | undefined,
): readonly T[] {
  if (record === undefined) return [];
  return items.slice(items.findLastIndex(({ from }) => from === 'new'));
}

function plain(record: TaskRecord): object {
  const {
    id,
    state,
    attempt,
    crashes,
    moves,
    started,
    waitingFor,
    waitingCount,
    cancelRequested,
    reason,
    errorSignature,
    result,
    error,
    body,
  } = record;
  const { payload, priority, weight, key, group, agent, parent, capabilities } = body;
  return {
    id,
    state,
    attempt,
    crashes,
    moves,
    started,
    waitingFor: waitingFor.toSorted(),
    waitingCount,
    cancelRequested,
    reason,
    result,
    error,
    // Memory keeps that of an earlier life.
    errorSignature: reason === 'R' ? errorSignature : undefined,
    isTimed: record.runAt !== undefined,
    hasEnded: record.endedAt !== undefined,
    wasReady: record.readyAt > 0,
    isBound: record.deadlineAt !== undefined,
    // Memory keeps the payload of a keyed task to compare with; a store that has a digest needn't.
    payload: record.endedAt === undefined ? payload : 'ended',
    priority,
    weight,
    key,
    group,
    agent,
    parent,
    capabilities,
  };
}

function count(what: string, by = 1): void {
  seen.set(what, (seen.get(what) ?? 0) + by);
}

function nextStep(dice: Dice, ids: readonly string[], side: Side): Step {
  const roll = dice.below(100);
  if (roll < 28) return enqueueStep(dice, ids);
  if (roll < 45) return claimStep(dice);
  if (roll < 68 && side.claims.length > 0) {
    const some = dice.some(side.claims.slice(-12), 0.5);
    // Two of one task in a batch: memory answers the first before it looks at the second.
    const chosen = some
      .filter(({ task }, i) => some.findIndex((one) => one.task === task) === i)
      .map((claim) => ({
        task: claim.task,
        nth: side.claims.filter((one) => one.task === claim.task).indexOf(claim),
      }));
    if (chosen.length > 0) return settleStep(dice, chosen);
  }
  if (roll < 75) return cancelStep(dice, ids);
  if (roll < 83) return reviseStep(dice, ids);
  if (roll < 90) return sweepStep;
  if (roll < 94) return takeoverStep(dice);
  if (roll < 97) return (one) => one.replace(1);
  return configureStep(dice);
}

for (let run = 0; run < RUNS; run++) {
  const seed = `${process.env['FC_SEED']}-${run}`;
  test(`both stores answer alike, seed ${seed}`, async () => {
    const dice = new Dice(seed);
    const ids = Array.from({ length: 6 + dice.below(8) }, (_, i) => `t${i}`);
    const sides = [new Side(await memoryEnvironment()), new Side(await postgresEnvironment())] as const;
    try {
      for (const side of sides) side.workers = [await side.open(), await side.open()];
      const log: string[] = [];
      // What seldom comes of itself comes at the end of each.
      const last: readonly (() => Step)[] = [
        () => enqueueStep(dice, ids),
        () => claimStep(dice, 1),
        () => (one) => one.replace(1),
        () => takeoverStep(dice, false),
      ];
      for (let i = 0; i < STEPS + last.length; i++) {
        const ms = dice.of([1, 1, 1, 20, 50]);
        for (const side of sides) await side.env.pass(ms);
        const step = last[i - STEPS]?.() ?? nextStep(dice, ids, sides[0]);
        const [expected, actual] = [await step(sides[0]), await step(sides[1])];
        log.push(`${i} ${JSON.stringify(sides[0].said ?? null)}\n  → ${JSON.stringify(expected)}`);
        sides[0].said = undefined;
        assert.deepEqual(clean(actual), clean(expected), `step ${i} of ${seed}\n${log.slice(-4).join('\n')}`);
        const [before, after] = [await picture(sides[0], ids), await picture(sides[1], ids)];
        assert.deepEqual(
          clean(after),
          clean(before),
          `after step ${i} of ${seed}\n${log.slice(-6).join('\n')}`,
        );
      }
    } finally {
      for (const side of sides) await side.env.stop();
    }
  });
}

/** An absent property and an undefined one are the same. */
function clean(value: unknown): unknown {
  return value === undefined ? undefined : JSON.parse(JSON.stringify(value));
}

afterAll(() => {
  for (const what of [
    'enqueued',
    'duplicate',
    'conflict',
    'cycle',
    'claimed',
    'settled',
    'stale',
    'cancelled',
    'redrive',
    'pruned',
    'taken',
  ])
    expect(seen.get(what) ?? 0, `${what} happened`).toBeGreaterThan(0);
});
