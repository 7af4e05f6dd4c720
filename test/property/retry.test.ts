import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createRandom } from '../../src/core/runtime/random.ts';
import { decideRetry, resolveRetry, retryDelay, type RetryOptions } from '../../src/scheduler/retry.ts';
import { createScheduler, gate } from '../support/mesh.ts';
import { type Failure, type Policy, RetryModel } from '../support/retry-model.ts';

/** Runs from which on it is checked that the hard cases were reached. */
const ENOUGH = 500;

const policies = fc.record({
  maxAttempts: fc.integer({ min: 1, max: 50 }),
  delayMs: fc.oneof(fc.integer({ min: 0, max: 100_000 }), fc.double({ min: 0, max: 1e9, noNaN: true })),
  factor: fc.double({ min: 1, max: 100, noNaN: true }),
  maxDelayMs: fc.oneof(fc.integer({ min: 0, max: 100_000 }), fc.constant(Number.POSITIVE_INFINITY)),
  jitter: fc.constantFrom('full', 'equal', 'none'),
}) satisfies fc.Arbitrary<Omit<RetryOptions, 'decide'>>;
const attempts = fc.oneof(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 1, max: 1_000_000 }));

test('a delay is finite, within its jitter, and never above the cap', () => {
  fc.assert(
    fc.property(policies, attempts, fc.string(), (given, attempt, seed) => {
      const policy = resolveRetry({ retry: given });
      const delay = retryDelay(policy, attempt, createRandom(seed));
      const whole = retryDelay({ ...policy, jitter: 'none' }, attempt, createRandom(seed));
      expect(Number.isFinite(delay)).toBe(true);
      expect(delay).toBeLessThanOrEqual(Math.min(whole, policy.maxDelayMs));
      const least = { full: 0, equal: whole / 2, none: whole };
      expect(delay).toBeGreaterThanOrEqual(least[policy.jitter]);
    }),
  );
});

test('without jitter delays never shrink from one attempt to the next', () => {
  fc.assert(
    fc.property(policies, attempts, (given, attempt) => {
      const policy = resolveRetry({ retry: { ...given, jitter: 'none' } });
      const random = createRandom(1);
      expect(retryDelay(policy, attempt + 1, random)).toBeGreaterThanOrEqual(
        retryDelay(policy, attempt, random),
      );
    }),
  );
});

test('a task that always fails gets exactly maxAttempts attempts, whatever it throws', () => {
  const errors = fc.oneof(
    fc.anything(),
    fc
      .constantFrom('DEADLOCK', 'TASK_TIMEOUT', 'ERROR')
      .map((code) => Object.assign(new Error('x'), { code })),
    fc.integer({ min: 0, max: 1e6 }).map((retryAfterMs) => ({ retryAfterMs })),
  );
  fc.assert(
    fc.property(policies, errors, fc.string(), (given, error, seed) => {
      const policy = resolveRetry({ retry: given });
      const random = createRandom(seed);
      let attempt = 1;
      for (; attempt < 100; attempt++) {
        const decision = decideRetry(policy, { attempt, error }, random);
        if (decision === 'bury') break;
        expect(decision.retryInMs).toBeGreaterThanOrEqual(
          (error as { retryAfterMs?: number } | null)?.retryAfterMs ?? 0,
        );
      }
      const final = (error as { retryable?: unknown } | null | undefined)?.retryable === false;
      expect(attempt).toBe(final ? 1 : policy.maxAttempts);
    }),
  );
});

test('the same seed gives the same delays, another seed others', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1 }), (seed) => {
      const policy = resolveRetry({});
      const delays = (from: string): number[] => {
        const random = createRandom(from);
        return [1, 2, 3].map((attempt) => retryDelay(policy, attempt, random));
      };
      expect(delays(seed)).toEqual(delays(seed));
      expect(delays(seed)).not.toEqual(delays(`${seed}/other`));
    }),
  );
});

// ── over a scheduler

const policyOf: fc.Arbitrary<Policy> = fc.record({
  maxAttempts: fc.integer({ min: 1, max: 4 }),
  delayMs: fc.constantFrom(0, 5, 100),
  factor: fc.constantFrom(1, 2, 3),
  maxDelayMs: fc.constantFrom(50, 150, 1_000),
  jitter: fc.constantFrom('full', 'equal', 'none'),
});
const failureOf: fc.Arbitrary<Failure> = fc.oneof(
  { weight: 6, arbitrary: fc.constant({ kind: 'plain' as const }) },
  { weight: 1, arbitrary: fc.constantFrom({ kind: 'final' as const }, { kind: 'deadlock' as const }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(20, 300).map((retryAfterMs) => ({ kind: 'later' as const, retryAfterMs })),
  },
);

function errorOf(failure: Failure): Error {
  const error = new Error(failure.kind);
  if (failure.kind === 'final') return Object.assign(error, { retryable: false });
  if (failure.kind === 'deadlock') return Object.assign(error, { code: 'DEADLOCK' });
  return failure.kind === 'later' ? Object.assign(error, { retryAfterMs: failure.retryAfterMs }) : error;
}

const reached = { runs: 0, retried: 0, buried: 0, redriven: 0, cancelled: 0 };
const at = <T>(list: readonly T[], pick: number): T | undefined => list[pick % Math.max(1, list.length)];

/** A scheduler whose attempts end when a command says so. */
class Desk {
  readonly world = createScheduler({ graceMs: 3_600_000 });
  readonly attempts = new Map<string, { readonly attempt: number; readonly end: Gate }>();
  readonly model: RetryModel;
  failure: unknown;

  constructor(truth: RetryModel) {
    this.model = truth;
    this.world.scheduler.registerAgent({
      id: 'a',
      maxConcurrentTasks: 100,
      handler: ({ task, attempt }) => {
        try {
          const { clock } = this.world;
          // Begun by time, and not by a command that has told the model.
          if (truth.tasks.get(task.id)?.state === 'scheduled') truth.begin(task.id, clock.mono());
          expect(this.attempts.has(task.id), 'one attempt at a time').toBe(false);
        } catch (error) {
          this.failure ??= error;
        }
        const end = gate<unknown>();
        this.attempts.set(task.id, { attempt, end });
        return end.promise;
      },
    });
  }

  end(id: string, how: (end: Gate) => void): void {
    const attempt = this.attempts.get(id);
    this.attempts.delete(id);
    if (attempt !== undefined) how(attempt.end);
  }

  check(): void {
    if (this.failure !== undefined) throw this.failure as Error;
    const ids = [...this.model.tasks.keys()];
    const records = this.world.store.get(ids);
    const states = { running: 'claimed', scheduled: 'scheduled' } as Readonly<Record<string, string>>;
    for (const [i, id] of ids.entries()) {
      const { state, attempt } = this.model.tasks.get(id) as { state: string; attempt: number };
      const record = records[i];
      expect([id, record?.state, record?.attempt]).toEqual([id, states[state] ?? state, attempt]);
      expect(this.attempts.get(id)?.attempt).toBe(state === 'running' ? attempt : undefined);
    }
    expect(this.model.late(this.world.clock.mono())).toEqual([]);
  }
}
type Gate = ReturnType<typeof gate<unknown>>;
type RetryCommand = fc.AsyncCommand<RetryModel, Desk>;

function step(name: string, run: (truth: RetryModel, desk: Desk) => unknown): RetryCommand {
  return {
    check: () => true,
    run: async (truth, desk) => {
      await run(truth, desk);
      await desk.world.clock.settle();
      // What is due at once has begun by now.
      await desk.world.clock.advance(0);
      desk.check();
    },
    toString: () => name,
  };
}

const submitCommand = policyOf.map((policy) =>
  step(`submit ${JSON.stringify(policy)}`, async (truth, { world }) => {
    const id = `t${truth.tasks.size}`;
    truth.submit(id, policy);
    await world.scheduler.submitTask({ id, type: 't', retry: policy });
  }),
);
const failCommand = fc.tuple(fc.nat(9), failureOf).map(([pick, failure]) =>
  step(`${pick} fails: ${JSON.stringify(failure)}`, (truth, desk) => {
    const id = at(truth.in('running'), pick);
    if (id === undefined) return;
    truth.fail(id, failure, desk.world.clock.mono());
    const { state } = truth.tasks.get(id) as { state: string };
    if (state === 'scheduled') reached.retried += 1;
    if (state === 'dead') reached.buried += 1;
    desk.end(id, ({ fail }) => fail(errorOf(failure)));
  }),
);
const succeedCommand = fc.nat(9).map((pick) =>
  step(`${pick} succeeds`, (truth, desk) => {
    const id = at(truth.in('running'), pick);
    if (id === undefined) return;
    truth.succeed(id);
    desk.end(id, ({ open }) => open(id));
  }),
);
const cancelCommand = fc.nat(9).map((pick) =>
  step(`cancel ${pick}`, async (truth, { world }) => {
    const id = at([...truth.tasks.keys()], pick);
    if (id === undefined) return;
    reached.cancelled += 1;
    expect((await world.scheduler.cancelTask(id)).status).toBe(truth.cancel(id));
  }),
);
const redriveCommand = fc.tuple(fc.nat(9), fc.boolean()).map(([pick, resetAttempts]) =>
  step(`redrive ${pick}${resetAttempts ? ' afresh' : ''}`, async (truth, { world }) => {
    const id = at(truth.in('dead', 'cancelled'), pick);
    if (id === undefined) return;
    reached.redriven += 1;
    truth.redrive(id, resetAttempts);
    expect(await world.scheduler.queues.redrive({ ids: [id] }, { resetAttempts })).toEqual({ changed: 1 });
  }),
);
const passCommand = fc
  .constantFrom(1, 10, 50, 100, 400)
  .map((ms) => step(`${ms} ms pass`, (_, { world }) => world.clock.advance(ms)));

describe('retries of a scheduler', () => {
  test('T4, T5, T8, T9: attempts are counted, come when they are due, and end as the policy says (model)', async () => {
    const commands = fc.commands(
      [
        submitCommand,
        failCommand,
        failCommand,
        failCommand,
        succeedCommand,
        cancelCommand,
        redriveCommand,
        passCommand,
      ],
      { size: '+1', maxCommands: 25 },
    );
    await fc.assert(
      fc.asyncProperty(commands, async (steps) => {
        const truth = new RetryModel();
        const desk = new Desk(truth);
        reached.runs += 1;
        await fc.asyncModelRun(() => ({ model: truth, real: desk }), steps);
      }),
    );
    if (reached.runs < ENOUGH) return;
    console.info('retry model', reached);
    for (const what of ['retried', 'buried', 'redriven', 'cancelled'] as const)
      expect(reached[what] / reached.runs, what).toBeGreaterThan(0.2);
  });

  test('T3, T4, T5, T8: whatever the order of failures, successes, cancellations, redrives and time, each attempt is the next one of its task, none too early, and each task ends once', async () => {
    const acts = fc.array(
      fc.oneof(
        fc.record({ do: fc.constantFrom('cancel', 'redrive', 'redrive'), task: fc.nat(3) }),
        fc.record({ do: fc.constant('pass'), task: fc.constantFrom(1, 7, 40) }),
      ),
      { minLength: 2, maxLength: 9 },
    );
    const tasks = fc.array(
      fc.record({
        policy: policyOf,
        fates: fc.array(fc.oneof(failureOf, fc.constant(undefined)), { maxLength: 5 }),
      }),
      { minLength: 1, maxLength: 4 },
    );
    const seen = { runs: 0, retried: 0, redriven: 0, cancelled: 0, dead: 0 };
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), tasks, acts, async (s, plans, script) => {
        const { scheduler, clock, bus, store } = createScheduler({ graceMs: 10 });
        const counts = plans.map(() => ({ calls: 0, attempt: 0, notBefore: 0, ends: 0, live: 0 }));
        const countOf = (id: string) => counts[Number(id.slice(1))] as (typeof counts)[number];
        const failures: unknown[] = [];
        const must = (check: () => void): void => {
          try {
            check();
          } catch (error) {
            failures.push(error);
          }
        };
        bus.on('task:retried', ({ taskId, attempt, delayMs }) => {
          seen.retried += 1;
          countOf(taskId).notBefore = clock.mono() + delayMs;
          must(() => expect(attempt).toBe(countOf(taskId).attempt));
        });
        bus.on('task:redriven', ({ taskId }) => {
          seen.redriven += 1;
          Object.assign(countOf(taskId), { attempt: 0, notBefore: 0, ends: 0 });
        });
        const ended = ({ taskId }: { readonly taskId: string }): void => {
          const count = countOf(taskId);
          count.ends += 1;
          must(() => expect(count.ends, 'T4: one end').toBe(1));
        };
        bus.on('task:completed', ended);
        bus.on('task:buried', (payload) => {
          seen.dead += 1;
          ended(payload);
        });
        bus.on('task:cancelled', (payload) => {
          seen.cancelled += 1;
          ended(payload);
        });
        scheduler.registerAgent({
          id: 'a',
          maxConcurrentTasks: 2,
          handler: async ({ task, attempt, signal }) => {
            const count = countOf(task.id);
            const { policy, fates } = plans[Number(task.id.slice(1))] as (typeof plans)[number];
            must(() => {
              expect(attempt, 'each attempt is the next').toBe(count.attempt + 1);
              expect(attempt).toBeLessThanOrEqual(policy.maxAttempts);
              expect(count.live, 'T3').toBe(0);
              expect(clock.mono(), 'T8').toBeGreaterThanOrEqual(count.notBefore - 1.001);
            });
            count.attempt = attempt;
            count.live += 1;
            const fate = fates[count.calls++ % Math.max(1, fates.length)];
            await Promise.race([
              s.schedule(Promise.resolve(), `${task.id} ${attempt}`),
              aborted(signal),
            ]).finally(() => (count.live -= 1));
            if (fate !== undefined) throw errorOf(fate);
          },
        });
        const handles = await Promise.all(
          plans.map(({ policy }, i) => scheduler.submitTask({ id: `t${i}`, type: 't', retry: policy })),
        );
        for (const handle of handles) handle.result().catch(() => undefined);
        for (const [i, act] of script.entries()) {
          void s.schedule(Promise.resolve(), `${i} ${JSON.stringify(act)}`).then(() => {
            const id = `t${act.task % plans.length}`;
            if (act.do === 'cancel') void scheduler.cancelTask(id);
            if (act.do === 'redrive') void scheduler.queues.redrive({ queue: 't' });
            if (act.do === 'pass') clock.tick(act.task);
          });
        }
        for (let quiet = 0; quiet < 2; quiet++) {
          while (s.count() > 0) {
            quiet = 0;
            await s.waitOne();
          }
          // At least until the longest delay is over.
          await clock.advance(1_001);
        }
        if (failures.length > 0) throw failures[0] as Error;
        for (const handle of handles) await handle.result().catch(() => undefined);
        expect(counts.map(({ ends, live }) => [ends, live])).toEqual(plans.map(() => [1, 0]));
        for (const { states, totals } of store.counts().queues) {
          const { completed, dead, cancelled, ...others } = states;
          expect(Object.values(others).every((count) => count === 0)).toBe(true);
          expect(completed + dead + cancelled + totals.pruned, 'T9').toBe(totals.enqueued);
          expect(totals.staleSettles, 'T4').toBe(0);
        }
        expect(scheduler.getSchedulingMetrics()).toMatchObject({ running: 0, queued: 0, zombies: 0 });
        seen.runs += 1;
      }),
    );
    if (seen.runs < ENOUGH) return;
    console.info('retry interleavings', seen);
    for (const what of ['retried', 'redriven', 'cancelled', 'dead'] as const)
      expect(seen[what] / seen.runs, what).toBeGreaterThan(0.1);
  });
});

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason as Error);
    signal.addEventListener('abort', () => reject(signal.reason as Error));
  });
}
