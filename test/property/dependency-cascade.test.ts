import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, test } from 'vitest';
import type { FailurePolicy, TaskState } from '../../src/core/ports/tasks.ts';
import { createMemoryTasks, type MemoryTasks, newTask } from '../support/memory-tasks.ts';

type Script = 'complete' | 'bury' | 'cancel' | 'retry-complete';

interface Node {
  readonly id: string;
  readonly script: Script;
  readonly edges: readonly { readonly parent: string; readonly onFailure: FailurePolicy }[];
}

const MAX_NODES = 24;
const script = fc.constantFrom<Script>(
  'complete',
  'complete',
  'complete',
  'bury',
  'cancel',
  'retry-complete',
);
const policy = fc.constantFrom<FailurePolicy>('cancel', 'skip', 'wait', 'continue');

/** A random acyclic graph: node i may depend on nodes before it. `order` is the order of enqueue, so many are forward references. */
const graph = fc.integer({ min: 2, max: MAX_NODES }).chain((size) =>
  fc.record({
    scripts: fc.array(script, { minLength: size, maxLength: size }),
    edges: fc.array(fc.record({ from: fc.nat(size - 1), to: fc.nat(size - 1), onFailure: policy }), {
      maxLength: 3 * size,
    }),
    order: fc.shuffledSubarray([...Array(size).keys()], { minLength: size, maxLength: size }),
    batch: fc.integer({ min: 1, max: 8 }),
    late: fc.nat(size),
  }),
);

function toNodes({
  scripts,
  edges,
}: {
  readonly scripts: readonly Script[];
  readonly edges: readonly { from: number; to: number; onFailure: FailurePolicy }[];
}): Node[] {
  return scripts.map((one, i) => {
    const own = new Map<string, { parent: string; onFailure: FailurePolicy }>();
    for (const { from, to, onFailure } of edges) {
      if (Math.max(from, to) === i && from !== to)
        own.set(`n${Math.min(from, to)}`, { parent: `n${Math.min(from, to)}`, onFailure });
    }
    return { id: `n${i}`, script: one, edges: [...own.values()] };
  });
}

/** Runs whatever is ready by its script until nothing is. Counts how often each task became claimable. */
function runAll(tasks: MemoryTasks, nodes: ReadonlyMap<string, Node>, runs: Map<string, number>): void {
  for (;;) {
    tasks.sweepAll();
    const claims = tasks.claim({ limit: 3 });
    if (claims.length === 0) return;
    tasks.store.settle(
      tasks.op(),
      claims.map((claim) => {
        runs.set(claim.task, (runs.get(claim.task) ?? 0) + 1);
        switch (nodes.get(claim.task)?.script) {
          case 'bury':
            return { claim, as: 'bury', reason: 'r', error: 'e', signature: 's' } as const;
          case 'cancel':
            return { claim, as: 'cancel', reason: 'r' } as const;
          case 'retry-complete':
            if (claim.attempt === 1) return { claim, as: 'retry', delayMs: 0, error: 'e' } as const;
        }
        return { claim, as: 'complete', result: null } as const;
      }),
    );
  }
}

const SCRIPTED: Record<Script, TaskState> = {
  complete: 'completed',
  'retry-complete': 'completed',
  bury: 'dead',
  cancel: 'cancelled',
};

/** What may have become of a node, as its parents ended: found anew from the graph alone. */
function allowed(node: Node, states: ReadonlyMap<string, TaskState>): readonly TaskState[] {
  const doomed: TaskState[] = [];
  let waits = false;
  for (const { parent, onFailure } of node.edges) {
    const state = states.get(parent);
    if (state === 'waiting') waits = true;
    else if (state !== 'completed') {
      if (onFailure === 'cancel') doomed.push('cancelled');
      if (onFailure === 'skip') doomed.push('skipped');
      if (onFailure === 'wait') waits = true;
    }
  }
  if (doomed.length > 0) return doomed;
  return [waits ? 'waiting' : SCRIPTED[node.script]];
}

describe('dependencies', () => {
  test('T4, T9: whatever the graph, the policies and the order of enqueue, each task ends as its parents say', () => {
    fc.assert(
      fc.property(graph, (one) => {
        const nodes = toNodes(one);
        const byId = new Map(nodes.map((node) => [node.id, node]));
        const tasks = createMemoryTasks({ history: 1_000 });
        const runs = new Map<string, number>();
        const ordered = one.order.map((i) => nodes[i] as Node);
        for (let i = 0; i < ordered.length; i += one.batch) {
          // Some parents have ended before their children come.
          if (i >= one.late) runAll(tasks, byId, runs);
          tasks.add(
            ...ordered.slice(i, i + one.batch).map(({ id, edges }) => newTask(id, { dependsOn: edges })),
          );
        }
        runAll(tasks, byId, runs);
        const states = new Map(
          tasks.store
            .get(nodes.map(({ id }) => id))
            .map((record) => [record?.id ?? '', record?.state ?? 'dead']),
        );
        for (const node of nodes) {
          const state = states.get(node.id) as TaskState;
          const may = allowed(node, states);
          assert.ok(may.includes(state), `${node.id} is ${state}, expected ${may.join(' or ')}`);
          const ran = state === SCRIPTED[node.script] && may.length === 1 && may[0] === state;
          const expectedRuns = node.script === 'retry-complete' ? 2 : 1;
          if (node.script !== 'cancel')
            assert.equal(runs.get(node.id) ?? 0, ran ? expectedRuns : 0, `runs of ${node.id}`);
          const ends = tasks.store
            .history({ task: node.id }, { limit: 100 })
            .items.filter(({ to }) => to === state);
          if (state !== 'waiting') assert.equal(ends.length, 1, `${node.id} ended once`);
        }
        const counts = tasks.store.counts().queues[0];
        const sum = Object.values(counts?.states ?? {}).reduce((a, b) => a + b, 0);
        assert.equal(sum, nodes.length);
      }),
    );
  });

  test('a graph with one edge more is refused exactly if that closes a cycle, with a path that is one', () => {
    fc.assert(
      fc.property(
        graph,
        fc.array(fc.tuple(fc.nat(MAX_NODES), fc.nat(MAX_NODES)), { minLength: 1, maxLength: 3 }),
        (one, extra) => {
          const size = one.scripts.length;
          const nodes = toNodes(one).map(({ id, edges }, i) => {
            const added = extra
              .filter(([child]) => child % size === i)
              .map(([, parent]) => `n${parent % size}`);
            const parents = new Set([...edges.map(({ parent }) => parent), ...added]);
            return { id, parents: [...parents] };
          });
          const tasks = createMemoryTasks();
          const accepted = new Map<string, readonly string[]>();
          for (const i of one.order) {
            const { id, parents } = nodes[i] as (typeof nodes)[number];
            const closes = reaches(accepted, parents, id);
            const dependsOn = parents.map((parent) => ({ parent, onFailure: 'cancel' as const }));
            const [result] = tasks.store.enqueue(tasks.op(), [newTask(id, { dependsOn })]).results;
            assert.equal(result?.status, closes ? 'cycle' : 'enqueued');
            if (result?.status === 'cycle') checkPath(result.path, id, parents, accepted);
            else accepted.set(id, parents);
          }
        },
      ),
    );
  });
});

function reaches(
  edges: ReadonlyMap<string, readonly string[]>,
  starts: readonly string[],
  target: string,
): boolean {
  const seen = new Set<string>();
  const todo = [...starts];
  for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
    if (next === target) return true;
    if (seen.has(next)) continue;
    seen.add(next);
    todo.push(...(edges.get(next) ?? []));
  }
  return false;
}

function checkPath(
  path: readonly string[],
  id: string,
  parents: readonly string[],
  edges: ReadonlyMap<string, readonly string[]>,
): void {
  assert.equal(path[0], id);
  assert.equal(path.at(-1), id);
  for (let i = 0; i + 1 < path.length; i++) {
    const from = path[i] as string;
    const to = path[i + 1] as string;
    assert.ok((i === 0 ? parents : (edges.get(from) ?? [])).includes(to), `${from} waits for ${to}`);
  }
}
