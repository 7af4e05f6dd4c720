import { defineQuestion, type Scale } from '../harness/question.ts';
import { quantile } from '../harness/statistics.ts';
import { EventBus, isCoordinationError, type ResourceRequest, ResourceManager } from '../ours.ts';

/** Always the same numbers. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const settled = async (turns: number): Promise<void> => {
  for (let i = 0; i < turns; i++) await Promise.resolve();
};

/**
 * Every agent takes two resources of its own, then all ask for one of another agent: the wait graph is as deep as there are agents. Each
 * of these requests blocks, most of them close a cycle or hang on a long chain. µs of the blocking call itself, 99 of 100.
 */
async function askOurs(agents: number, semaphores: boolean): Promise<number> {
  const events = new EventBus();
  const locks = new ResourceManager({ resourceTimeout: 600_000 }, events);
  const next = numbers(7);
  const request = (i: number): ResourceRequest =>
    semaphores ? { semaphore: `r${i}`, of: 1, units: 1 } : `r${i}`;
  for (let i = 0; i < agents; i++) {
    await locks.acquire(request(2 * i), { owner: `a${i}` });
    await locks.acquire(request(2 * i + 1), { owner: `a${i}` });
  }
  const waits: Promise<unknown>[] = [];
  const samples: number[] = [];
  for (let i = 0; i < agents; i++) {
    const wanted = request(next(2 * agents));
    const from = performance.now();
    const wait = locks.acquire(wanted, { owner: `a${i}`, reentrant: true });
    samples.push((performance.now() - from) * 1_000);
    waits.push(
      wait.catch((error: unknown) => {
        if (!isCoordinationError(error, 'DEADLOCK')) throw error;
        return locks.releaseAllForAgent(`a${i}`);
      }),
    );
    await settled(5);
  }
  return quantile(samples, 0.99);
}

/** A detection that builds the whole graph at each blocked request and searches it from every node. */
function askNaive(agents: number): number {
  const next = numbers(7);
  const waitsFor = new Map<number, number>();
  const samples: number[] = [];
  for (let i = 0; i < agents; i++) {
    waitsFor.set(i, next(agents));
    const from = performance.now();
    const graph = new Map([...waitsFor].map(([waiter, holder]) => [`a${waiter}`, [`a${holder}`]]));
    for (const node of graph.keys()) {
      const seen = new Set<string>();
      const stack = [node];
      for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
        if (seen.has(at)) continue;
        seen.add(at);
        stack.push(...(graph.get(at) ?? []));
      }
    }
    samples.push((performance.now() - from) * 1_000);
  }
  return quantile(samples, 0.99);
}

async function ours(scale: Scale): Promise<Record<string, number>> {
  await askOurs(200, false);
  return {
    '1,000 agents': await askOurs(scale.of(1_000), false),
    '1,000 agents, semaphores': await askOurs(scale.of(1_000), true),
    '10,000 agents': await askOurs(scale.of(10_000), false),
  };
}

export const deadlockCheck = defineQuestion({
  name: 'deadlock-check',
  asks: 'how long does a request that blocks take, its search for a deadlock included? (p99)',
  metrics: [
    { name: '1,000 agents', unit: 'µs' },
    { name: '1,000 agents, semaphores', unit: 'µs' },
    { name: '10,000 agents', unit: 'µs' },
  ],
  contestants: {
    agentmesh: { run: ours },
    'whole graph each time': {
      async run(scale) {
        return { '1,000 agents': askNaive(scale.of(1_000)) };
      },
    },
  },
  control: {
    contestant: 'whole graph each time',
    metric: '1,000 agents',
    by: 1.5,
    why: 'builds and searches the whole graph at each blocked request',
  },
  goals: [
    { text: 'p99 < 1 ms at 1,000 agents', metric: '1,000 agents', value: 1_000 },
    { text: 'p99 < 1 ms at 1,000 agents, all semaphores', metric: '1,000 agents, semaphores', value: 1_000 },
    { text: 'p99 < 5 ms at 10,000', metric: '10,000 agents', value: 5_000 },
  ],
});
