import type { Claim, ClaimRequest, Edge, NewTask, TaskStore } from '../../src/core/ports/tasks.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import type { Operation } from '../../src/core/ports/words.ts';

/** A process that calls a store of tasks. */
export interface TaskCaller {
  readonly tasks: TaskStore;
  op(): Operation;
}

/** A task that says as little as a task may. */
export function plainTask(id: string, more: Partial<NewTask> = {}): NewTask {
  return {
    id,
    queue: 'q',
    type: 't',
    payload: { id },
    priority: 0,
    capabilities: [],
    weight: 1,
    dependsOn: [],
    limits: { maxCrashes: 3, keepMs: 600_000 },
    ...more,
  };
}

export function edgesTo(...parents: readonly string[]): readonly Edge[] {
  return parents.map((parent) => ({ parent, onFailure: 'cancel' as const }));
}

export function wanting(limit: number, start = limit): ClaimRequest {
  return { offers: [{ capabilities: [], slots: limit }], agents: [], assigned: 0, limit, start };
}

/** In batches of 250, several on their way at once. */
export async function enqueueMany({ tasks, op }: TaskCaller, all: readonly NewTask[]): Promise<void> {
  const batches: Promise<unknown>[] = [];
  for (let from = 0; from < all.length; from += 250) {
    batches.push(Promise.resolve(tasks.enqueue(op(), all.slice(from, from + 250))));
    if (batches.length === 8) await Promise.all(batches.splice(0));
  }
  await Promise.all(batches);
}

/** Sweeps until there is nothing to do now. Answers how often. */
export async function sweepAll({ tasks, op }: TaskCaller): Promise<number> {
  for (let sweeps = 1; ; sweeps++) if (!(await tasks.sweep(op(), 1_000)).more) return sweeps;
}

export async function completeAll({ tasks, op }: TaskCaller, claims: readonly Claim[]): Promise<void> {
  if (claims.length === 0) return;
  await tasks.settle(
    op(),
    claims.map((claim) => ({ claim, as: 'complete', result: claim.task })),
  );
}

/** Claims and completes until nothing is left. Answers every claim. */
export async function runAll(caller: TaskCaller, most = 100): Promise<readonly Claim[]> {
  const all: Claim[] = [];
  for (;;) {
    const { claims } = await caller.tasks.claim(caller.op(), wanting(most));
    if (claims.length === 0) return all;
    all.push(...claims);
    await completeAll(caller, claims);
    await sweepAll(caller);
  }
}

/** What went wrong with the conservation of tasks (T9) in any queue; nothing when nothing did. */
export async function conservationFaults({ tasks }: TaskCaller): Promise<readonly string[]> {
  const { queues } = await tasks.counts();
  return queues.flatMap(({ queue, states, totals }) => {
    const sum = Object.values(states).reduce((a, b) => a + b, 0);
    return sum + totals.pruned === totals.enqueued
      ? []
      : [`${queue}: ${sum} + ${totals.pruned} of ${totals.enqueued}`];
  });
}

/** An order of its own for each seed. */
export function shuffled<T>(items: readonly T[], seed: string): T[] {
  const random = createRandom(seed);
  return items
    .map((item) => ({ item, at: random.next() }))
    .toSorted((a, b) => a.at - b.at)
    .map(({ item }) => item);
}
