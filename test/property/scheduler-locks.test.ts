import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
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
    await fc.assert(
      fc.asyncProperty(
        fc.array(task, { minLength: 1, maxLength: 8 }),
        fc.array(step, { maxLength: 12 }),
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
          const ends = Promise.allSettled(handles.map((handle) => handle.result()));
          const leaves: Promise<void>[] = [];
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
          for (let i = 0; i < 40; i++) await clock.advance(500);
          await Promise.all(leaves);
          const { ready, claimed, scheduled, waiting } = (await mesh.queues.counts(['t']))[0]?.states ?? {};
          expect([ready, claimed, scheduled, waiting]).toEqual([0, 0, 0, 0]);
          expect(mesh.locks.lockUse()).toMatchObject({ held: 0, waiting: 0 });
          expect(mesh.tasks.getSchedulingMetrics()).toMatchObject({ running: 0, queued: 0, zombies: 0 });
          expect(together).toEqual([]);
          await ends;
          const down = mesh.shutdown();
          await clock.advance(10_000);
          await down;
        },
      ),
      { numRuns: 300 },
    );
    expect(deadlocks).toBeGreaterThan(0);
  });
});
