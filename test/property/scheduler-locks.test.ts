import fc from 'fast-check';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type AgentProfile, CoordinationManager } from '../../src/index.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';

const lock = fc.constantFrom('A', 'B', 'C');
const optional = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.option(value, { nil: undefined });

const task = fc.record({
  declared: optional(fc.uniqueArray(lock, { minLength: 1, maxLength: 2 })),
  outer: optional(lock),
  inner: optional(lock),
  parts: fc.constantFrom('none', 'submit', 'gather', 'some'),
  sleepMs: fc.constantFrom(0, 3, 20),
  /** Ignores its signal: what it does after its grace excludes nobody. */
  stubborn: fc.boolean(),
  agent: optional(fc.constantFrom('x', 'y')),
  priority: fc.integer({ min: 0, max: 3 }),
  timeoutMs: optional(fc.constantFrom(5, 30)),
});
type Input = typeof task extends fc.Arbitrary<infer T> ? T : never;

const step = fc.oneof(
  fc.record({ do: fc.constant('tick' as const), ms: fc.constantFrom(1, 5, 40) }),
  fc.record({ do: fc.constant('cancel' as const), n: fc.nat(10) }),
  fc.record({ do: fc.constant('force' as const), lock }),
  fc.record({ do: fc.constant('leave' as const), id: fc.constantFrom('x', 'y') }),
  fc.record({ do: fc.constant('steal' as const) }),
  fc.record({ do: fc.constant('pause' as const) }),
);

describe('tasks with locks and parts', () => {
  test('L2, L6, D2, D4, T9: whatever happens to them and their agents, all end, nothing is left, nobody is inside together', async () => {
    let deadlocks = 0;
    let runs = 0;
    // Thousands of errors are made on purpose; mapping the stack of each to its sources took a fifth of the time.
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    onTestFinished(() => void (Error.stackTraceLimit = stackTraceLimit));
    await fc.assert(
      fc.asyncProperty(
        fc.array(task, { minLength: 1, maxLength: 4 }),
        fc.array(step, { maxLength: 6 }),
        fc.integer({ min: 1, max: 3 }),
        optional(fc.constantFrom(1, 2)),
        async (inputs, steps, slots, limit) => {
          const clock = createTestClock();
          const mesh = await CoordinationManager.start({
            clock,
            seed: 1,
            env: {},
            workStealing: false,
            resources: { leaseMs: 200 },
            scheduling: { graceMs: 50, ...(limit === undefined ? {} : { maxConcurrentTasks: limit }) },
          });
          mesh.events.on('deadlock:detected', () => void (deadlocks += 1));
          const inside = new Map<string, number>();
          const together: string[] = [];
          const within = async (names: readonly string[], use: () => Promise<void>): Promise<void> => {
            for (const name of names) {
              inside.set(name, (inside.get(name) ?? 0) + 1);
              if ((inside.get(name) as number) > 1) together.push(name);
            }
            try {
              await use();
            } finally {
              for (const name of names) inside.set(name, (inside.get(name) as number) - 1);
            }
          };
          const agent = (id: string): AgentProfile => ({
            id,
            maxConcurrentTasks: slots,
            handler: async ({ task: { input }, sleep, submit, gather, withLock }) => {
              if (input === 'part') return;
              const { declared = [], outer, inner, parts, sleepMs, stubborn } = input as Input;
              const wait = (ms: number): Promise<void> =>
                stubborn ? new Promise((resolve) => void clock.after(ms, () => resolve(), true)) : sleep(ms);
              const part = { type: 't', input: 'part' };
              const work = async (): Promise<void> => {
                if (sleepMs > 0) await wait(sleepMs);
                if (parts === 'submit') await (await submit(part)).result();
                if (parts === 'gather') await gather([part, part]);
                if (parts === 'some') await gather([part, part], { minimum: 1 });
                if (inner !== undefined && inner !== outer && !declared.includes(inner))
                  await withLock(inner, () => wait(2));
              };
              const all = (names: readonly string[], use: () => Promise<void>): Promise<void> =>
                stubborn ? use() : within(names, use);
              await all(declared, async () => {
                if (outer === undefined || declared.includes(outer)) await work();
                else await withLock(outer, () => all([outer], work));
              });
            },
          });
          for (const id of ['x', 'y', 'z']) mesh.registerAgent(agent(id));
          const handles = [];
          for (const [i, input] of inputs.entries()) {
            const { declared, timeoutMs, priority } = input;
            const record = {
              type: 't',
              input,
              priority,
              retry: { maxAttempts: 4, delayMs: 2 },
              ...(declared === undefined ? {} : { locks: declared }),
              ...(timeoutMs === undefined ? {} : { timeoutMs }),
            };
            handles.push(await mesh.submitTask({ id: ['x', 'A'][i] ?? `t${i}`, ...record }));
            if (input.agent !== undefined)
              handles.push(await mesh.assignTask({ id: `p${i}`, ...record }, input.agent));
          }
          const leaves: Promise<void>[] = [];
          let open = handles.length;
          const ended = (): void => void (open -= 1);
          for (const handle of handles) handle.result().then(ended, ended);
          for (const one of steps) {
            if (one.do === 'tick') await clock.advance(one.ms);
            else if (one.do === 'cancel') await handles[one.n % handles.length]?.cancel();
            else if (one.do === 'force') await mesh.locks.forceRelease(one.lock, { graceMs: 100 });
            else if (one.do === 'steal') mesh.tasks.steal('x', 'z', 2);
            else if (one.do === 'leave') {
              leaves.push(mesh.unregisterAgent(one.id));
              await clock.settle();
            } else {
              await mesh.queues.pause('t');
              await clock.advance(3);
              await mesh.queues.resume('t');
            }
          }
          // 20 s are enough for every chain of retries; it is over when all is at rest.
          const isAtRest = (): boolean => {
            const { held, waiting } = mesh.locks.lockUse();
            const { running, queued, zombies } = mesh.tasks.getSchedulingMetrics();
            return open === 0 && held + waiting + running + queued + zombies === 0;
          };
          for (let i = 0; i < 200 && !isAtRest(); i++) await clock.advance(100);
          await Promise.all(leaves);
          const { ready, claimed, scheduled, waiting } = (await mesh.queues.counts(['t']))[0]?.states ?? {};
          expect([ready, claimed, scheduled, waiting]).toEqual([0, 0, 0, 0]);
          expect(mesh.locks.lockUse()).toMatchObject({ held: 0, waiting: 0 });
          expect(mesh.tasks.getSchedulingMetrics()).toMatchObject({ running: 0, queued: 0, zombies: 0 });
          expect(together).toEqual([]);
          expect(open).toBe(0);
          const down = mesh.shutdown();
          let isDown = false;
          void down.then(() => (isDown = true));
          await clock.settle();
          for (let i = 0; i < 100 && !isDown; i++) await clock.advance(100);
          await down;
          runs += 1;
        },
      ),
    );
    console.info({ runs, deadlocks });
    // Runs without the hard case say little; a replay of a few needn't have it.
    if (runs >= 500) expect(deadlocks / runs).toBeGreaterThan(0.1);
  });
});
