import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { Claim } from '../../src/core/ports/tasks.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { type UsedRedis, useRedis } from '../support/redis-backends.ts';
import { enqueueMany, plainTask, type TaskCaller, wanting } from '../support/redis-task-load.ts';

const SEED = process.env['FC_SEED'] ?? String(process.pid);
let meshes = 0;
let admin: Redis;

beforeAll(() => {
  admin = new Redis(inject('redisUrl'));
});
afterAll(() => {
  admin.disconnect();
});

function nextMesh(): string {
  return `task-hints-${process.pid}-${++meshes}`;
}

async function someone(mesh: string): Promise<UsedRedis & TaskCaller> {
  const used = await useRedis({ url: inject('redisUrl'), mesh });
  return Object.assign(used, { tasks: used.backend.tasks });
}

/** Counts hints of tasks. `settled` resolves when those of every script so far have come. */
function listening(used: UsedRedis, mesh: string): { heard(): number; settled(): Promise<void> } {
  let count = 0;
  let markers = 0;
  const waits = new Map<string, () => void>();
  used.backend.onHint([{ about: 'tasks', queue: '*' }], (hint) => {
    if (hint.about !== 'tasks') return;
    const wait = waits.get(hint.queue);
    if (wait === undefined) count += 1;
    else wait();
  });
  return {
    heard: () => count,
    settled: () =>
      new Promise((resolve) => {
        const marker = `marker ${++markers}`;
        waits.set(marker, resolve);
        void admin.publish(`agentmesh:{${mesh}}:hints`, `tasks ${marker}`);
      }),
  };
}

describe('hints of tasks', () => {
  test('only what was empty is told of: who may take the rest has asked already, or asks again with its next free slot', async () => {
    const mesh = nextMesh();
    await using me = await someone(mesh);
    const { heard, settled } = listening(me, mesh);
    for (let i = 0; i < 20; i++) await me.tasks.enqueue(me.op(), [plainTask(`t${i}`)]);
    await settled();
    expect(heard()).toBe(1);
    // Another priority is another list: something more urgent is told of.
    await me.tasks.enqueue(me.op(), [plainTask('urgent', { priority: 5 })]);
    await settled();
    expect(heard()).toBe(2);
    await me.tasks.claim(me.op(), wanting(50));
    await me.tasks.enqueue(me.op(), [plainTask('again')]);
    await settled();
    expect(heard()).toBe(3);
  });

  test('a list of which only cancelled entries are left counts as empty', async () => {
    const mesh = nextMesh();
    await using me = await someone(mesh);
    const { heard, settled } = listening(me, mesh);
    const ids = Array.from({ length: 200 }, (_, i) => `t${i}`);
    await enqueueMany(
      me,
      ids.map((id) => plainTask(id)),
    );
    // From the middle outwards, so that most of them stay as dead entries.
    const cancelled = [...ids].sort(
      (a, b) => Math.abs(Number(a.slice(1)) - 100) - Math.abs(Number(b.slice(1)) - 100),
    );
    for (let i = 0; i < cancelled.length; i += 50)
      await me.tasks.cancel(
        me.op(),
        cancelled.slice(i, i + 50).map((task) => ({ task, reason: 'test', tree: false, revoke: false })),
      );
    await settled();
    const before = heard();
    await me.tasks.enqueue(me.op(), [plainTask('next')]);
    await settled();
    expect(heard()).toBe(before + 1);
    const { claims } = await me.tasks.claim(me.op(), wanting(5));
    expect(claims.map(({ task }) => task)).toEqual(['next']);
  });

  test.each([1, 2, 3, 4, 5, 6])(
    'who sleeps with free slots has nothing to take, whatever happens (%i)',
    async (run) => {
      const mesh = nextMesh();
      const next = createRandom(`${SEED}-hints-${run}`).next;
      const below = (n: number): number => Math.floor(next() * n);
      await using driver = await someone(mesh);
      const workers = await Promise.all([[], ['x'], ['x', 'y']].map((has) => sleeper(mesh, has)));
      const made: string[] = [];
      const steps: (() => Promise<unknown>)[] = [
        () => {
          const tasks = Array.from({ length: below(3) === 0 ? 90 : 1 + below(4) }, () => {
            made.push(`t${made.length}`);
            return plainTask(made.at(-1) as string, {
              priority: below(2),
              capabilities: [[], ['x'], ['y']][below(3)] as string[],
              ...(below(4) === 0 ? { group: `g${below(2)}` } : {}),
              ...(below(6) === 0 ? { delayMs: 1 } : {}),
              ...(below(8) === 0 ? { key: `k${made.length}` } : {}),
            });
          });
          return driver.tasks.enqueue(driver.op(), tasks) as Promise<unknown>;
        },
        async () => {
          const some = Array.from({ length: 30 }, () => made[below(made.length)] ?? 'none');
          await driver.tasks.cancel(
            driver.op(),
            some.map((task) => ({ task, reason: 'test', tree: false, revoke: false })),
          );
        },
        () => driver.tasks.sweep(driver.op(), 250) as Promise<unknown>,
        () =>
          driver.tasks.configure(driver.op(), 'q', undefined, {
            paused: below(3) === 0,
            ageStepMs: [1_000, 10_000][below(2)] as number,
            ...(below(2) === 0 ? { maxRunning: 1 + below(6) } : {}),
            ...(below(2) === 0 ? { maxRunningPerGroup: 1 + below(2) } : {}),
          }) as Promise<unknown>,
        () =>
          driver.tasks.revise(driver.op(), {
            filter: { ids: [made[below(made.length)] ?? 'none'] },
            revision: { set: 'priority', priority: below(3) },
            limit: 10,
          }) as Promise<unknown>,
        ...workers.flatMap((worker) => [() => worker.settle(next), () => worker.settle(next)]),
      ];
      try {
        for (let i = 0; i < 150; i++) {
          await steps[below(steps.length)]?.();
          // Nothing but hints, `more` and slots that become free wakes anybody.
          for (let woke = true; woke; ) {
            await Promise.all(workers.map((worker) => worker.settled()));
            woke = false;
            for (const worker of workers) if (await worker.turn()) woke = true;
          }
          for (const worker of workers)
            expect(await worker.overlooked(), `seed ${SEED}, step ${i}`).toEqual([]);
        }
      } finally {
        for (const worker of workers) await worker.stop();
      }
    },
  );
});

interface Sleeper {
  settled(): Promise<void>;
  /** Claims if something woke it. Answers whether it did. */
  turn(): Promise<boolean>;
  /** Ends some of what it holds. */
  settle(next: () => number): Promise<void>;
  /** What it could have had while it slept. */
  overlooked(): Promise<readonly string[]>;
  stop(): Promise<void>;
}

async function sleeper(mesh: string, capabilities: readonly string[]): Promise<Sleeper> {
  const used = await someone(mesh);
  const { tasks, op } = used;
  const { heard, settled } = listening(used, mesh);
  const held: Claim[] = [];
  let seen = 0;
  let isWoken = true;
  const claim = async (): Promise<{ readonly claims: readonly Claim[]; readonly more: boolean }> => {
    const free = 4 - held.length;
    const answer = await tasks.claim(op(), {
      offers: [{ capabilities, slots: free }],
      agents: [],
      assigned: 0,
      limit: free,
      start: free,
    });
    held.push(...answer.claims);
    return answer;
  };
  return {
    settled,
    async turn() {
      const was = isWoken || heard() !== seen;
      seen = heard();
      isWoken = false;
      if (!was || held.length === 4) return false;
      isWoken = (await claim()).more;
      return true;
    },
    async settle(next) {
      const done = held.filter(() => next() < 0.5);
      if (done.length === 0) return;
      for (const one of done) held.splice(held.indexOf(one), 1);
      const releases = next() < 0.2;
      await tasks.settle(
        op(),
        done.map((one) =>
          releases
            ? { claim: one, as: 'release', reason: 'test', delayMs: 0, refundAttempt: false }
            : { claim: one, as: 'complete', result: undefined },
        ),
      );
      isWoken = true;
    },
    async overlooked() {
      return held.length === 4 ? [] : (await claim()).claims.map(({ task }) => task);
    },
    stop: () => used.backend.stop(),
  };
}
