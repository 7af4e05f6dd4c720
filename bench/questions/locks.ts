import AsyncLock from 'async-lock';
import { Mutex } from 'async-mutex';
import { Sema } from 'async-sema';
import { nsPerStep } from '../harness/loops.ts';
import { turn } from '../harness/mesh.ts';
import { defineQuestion, type Scale } from '../harness/question.ts';
import { EventBus, ResourceManager } from '../ours.ts';

/** Takes and gives back `n` times, as one writes it in a loop: no contestant pays for a wrapper that another doesn't need. */
type Repeat = (n: number, keyOf: (i: number) => string) => Promise<void>;

const nothing = (): void => undefined;
const theOne = (): string => 'one';
const KEYS = Array.from({ length: 10_000 }, (_, i) => `key-${i}`);

async function shapes(scale: Scale, repeat: Repeat, suffix = ''): Promise<Record<string, number>> {
  const alone = await nsPerStep((n) => repeat(n, theOne), scale.of(100_000));
  const contended = await nsPerStep(async (n) => {
    const each = Math.ceil(n / 100);
    await Promise.all(Array.from({ length: 100 }, () => repeat(each, theOne)));
  }, scale.of(100_000));
  const spreadOut = await nsPerStep(
    (n) => repeat(n, (i) => KEYS[i % KEYS.length] as string),
    scale.of(100_000),
  );
  return {
    [`alone${suffix}`]: alone,
    [`100 contenders${suffix}`]: contended,
    [`10k keys${suffix}`]: spreadOut,
  };
}

/** 100,000 wait for one lock with 32 priorities, then it goes through all of them. ns per acquire. */
async function crowd(scale: Scale): Promise<number> {
  const locks = new ResourceManager({}, new EventBus());
  const n = scale.of(100_000);
  const first = await locks.acquire('one', 'holder', 2, { timeoutMs: 600_000 });
  const from = performance.now();
  const waits = Array.from({ length: n }, async (_, i) => {
    const lease = await locks.acquire('one', `agent-${i}`, (i * 2_654_435_761) % 32, { timeoutMs: 600_000 });
    await lease.release();
  });
  await first.release();
  await Promise.all(waits);
  return ((performance.now() - from) * 1e6) / n;
}

export const locks = defineQuestion({
  name: 'locks',
  asks: 'what does a lock cost, alone, contended, and over many keys?',
  metrics: [
    { name: 'alone', unit: 'ns' },
    { name: '100 contenders', unit: 'ns' },
    { name: '10k keys', unit: 'ns' },
    { name: 'alone, withLock', unit: 'ns' },
    { name: '100 contenders, withLock', unit: 'ns' },
    { name: '10k keys, withLock', unit: 'ns' },
    { name: '100k waiters', unit: 'ns' },
  ],
  contestants: {
    agentmesh: {
      note: 'owners, fencing tokens, leases, priorities, wait-for graph, events',
      async run(scale) {
        const manager = new ResourceManager({}, new EventBus());
        return {
          ...(await shapes(scale, async (n, keyOf) => {
            for (let i = 0; i < n; i++) {
              const lease = await manager.acquire(keyOf(i));
              await lease.release();
            }
          })),
          ...(await shapes(
            scale,
            async (n, keyOf) => {
              for (let i = 0; i < n; i++) await manager.withLock(keyOf(i), nothing);
            },
            ', withLock',
          )),
          '100k waiters': await crowd(scale),
        };
      },
    },
    'async-lock': {
      note: 'no owners, priorities, tokens, leases',
      async run(scale) {
        const lock = new AsyncLock({ maxPending: Number.POSITIVE_INFINITY });
        const values = await shapes(scale, async (n, keyOf) => {
          for (let i = 0; i < n; i++) await lock.acquire(keyOf(i), nothing);
        });
        return { ...values, ...renamed(values, ', withLock') };
      },
    },
    'async-mutex': {
      note: 'one object a key; no owners, tokens, leases',
      async run(scale) {
        const mutexes = new Map<string, Mutex>();
        const mutexOf = (key: string): Mutex => {
          let mutex = mutexes.get(key);
          if (mutex === undefined) mutexes.set(key, (mutex = new Mutex()));
          return mutex;
        };
        return {
          ...(await shapes(scale, async (n, keyOf) => {
            for (let i = 0; i < n; i++) {
              const release = await mutexOf(keyOf(i)).acquire();
              release();
            }
          })),
          ...(await shapes(
            scale,
            async (n, keyOf) => {
              for (let i = 0; i < n; i++) await mutexOf(keyOf(i)).runExclusive(nothing);
            },
            ', withLock',
          )),
        };
      },
    },
    'async-sema': {
      note: 'a bare semaphore, one object a key; nothing else',
      async run(scale) {
        const semas = new Map<string, Sema>();
        return shapes(scale, async (n, keyOf) => {
          for (let i = 0; i < n; i++) {
            const key = keyOf(i);
            let sema = semas.get(key);
            if (sema === undefined) semas.set(key, (sema = new Sema(1)));
            await sema.acquire();
            sema.release();
          }
        });
      },
    },
    'tries again each turn': {
      async run(scale) {
        const held = new Set<string>();
        return shapes({ ...scale, of: (n) => scale.of(n / 20) }, async (n, keyOf) => {
          for (let i = 0; i < n; i++) {
            const key = keyOf(i);
            while (held.has(key)) await turn();
            held.add(key);
            await turn();
            held.delete(key);
          }
        });
      },
    },
  },
  control: {
    contestant: 'tries again each turn',
    metric: '100 contenders',
    by: 2,
    why: 'polls instead of queueing',
  },
  goals: [
    ...(['alone', '100 contenders', '10k keys'] as const).flatMap((metric) => [
      { text: `${metric}: ≥ 1.3 × async-lock`, metric, versus: 'async-lock', atMost: 1 / 1.3 },
      { text: `${metric}: ≥ 5 × async-mutex`, metric, versus: 'async-mutex', atMost: 1 / 5 },
      {
        text: `${metric}, withLock: ≥ 1 × async-lock`,
        metric: `${metric}, withLock`,
        versus: 'async-lock',
        atMost: 1,
      },
    ]),
    { text: '100k waiters × 32 priorities ≤ 5 µs per acquire', metric: '100k waiters', value: 5_000 },
  ],
});

/** async-lock has one form only: it stands in both columns. */
function renamed(values: Readonly<Record<string, number>>, suffix: string): Record<string, number> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name + suffix, value]));
}
