import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import type { Requirement, WaitSource } from '../../src/core/waits.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import { cycleThrough, findDeadlocks, VictimTrial } from '../../src/resources/find-deadlock.ts';
import { findStuck, type StuckNode } from '../../src/resources/reduce.ts';
import { compareVictims, type VictimCandidate } from '../../src/resources/victim.ts';
import { WaitForGraph } from '../../src/resources/wait-for-graph.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';
import { canFinish } from '../support/locks/brute-force.ts';

const NODES = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];
const seen = { runs: 0, stuck: 0, cycleButFree: 0, several: 0 };

/** AND, OR and counted requirements over few nodes, dense enough to be stuck about half the time. */
const requirement = fc
  .record({
    blockers: fc.array(
      fc.record({ node: fc.constantFrom(...NODES), frees: fc.integer({ min: 1, max: 3 }) }),
      { minLength: 1, maxLength: 4 },
    ),
    needs: fc.integer({ min: 1, max: 7 }),
    all: fc.boolean(),
  })
  .map(({ blockers, needs, all }): Requirement => {
    const counted = all ? blockers.map(({ node }) => ({ node, frees: 1 })) : blockers;
    return { by: 'lock', what: 'r', blockers: counted, needs: all ? counted.length : needs };
  });
const graphs = fc
  .array(fc.tuple(fc.constantFrom(...NODES), fc.array(requirement, { minLength: 1, maxLength: 2 })), {
    maxLength: 8,
  })
  .map((entries) => new Map(entries));

type Graph = ReadonlyMap<string, readonly Requirement[]>;

function viewOf(graph: Graph) {
  return {
    isWaiting: (node: string) => graph.has(node),
    requirements: (node: string) => graph.get(node) ?? [],
  };
}

describe('reduction', () => {
  test('D1 and D2: a node is stuck exactly when no order of finishing lets it finish', () => {
    fc.assert(
      fc.property(graphs, (graph) => {
        const able = canFinish(graph);
        const stuck = findStuck(graph.keys(), viewOf(graph));
        seen.runs += 1;
        if (stuck.size > 0) seen.stuck += 1;
        else if (hasCycle(graph)) seen.cycleButFree += 1;
        expect([...stuck.keys()].sort()).toEqual([...graph.keys()].filter((node) => !able.has(node)).sort());
      }),
    );
  });

  test('D1: from one node, the answer about that node is the same, and everything it names is stuck', () => {
    fc.assert(
      fc.property(graphs, fc.constantFrom(...NODES), (graph, root) => {
        const able = canFinish(graph);
        const stuck = findStuck([root], viewOf(graph));
        expect(stuck.has(root)).toBe(graph.has(root) && !able.has(root));
        for (const node of stuck.keys()) expect(able.has(node)).toBe(false);
      }),
    );
  });

  test('looks at each wait at most once', () => {
    fc.assert(
      fc.property(graphs, fc.constantFrom(...NODES), (graph, root) => {
        const asked = new Map<string, number>();
        findStuck([root], {
          isWaiting: (node) => graph.has(node),
          requirements: (node) => {
            asked.set(node, (asked.get(node) ?? 0) + 1);
            return graph.get(node) ?? [];
          },
        });
        for (const count of asked.values()) expect(count).toBe(1);
      }),
    );
  });
});

describe('deadlocks', () => {
  test('D3: each found deadlock depends on nothing outside, has a cycle through every member, and they share nobody', () => {
    fc.assert(
      fc.property(graphs, (graph) => {
        const stuck = findStuck(graph.keys(), viewOf(graph));
        const deadlocks = findDeadlocks(stuck);
        expect(deadlocks.length > 0).toBe(stuck.size > 0);
        if (deadlocks.length > 1) seen.several += 1;
        const all = deadlocks.flat();
        expect(new Set(all).size).toBe(all.length);
        for (const members of deadlocks) checkDeadlock(members);
      }),
    );
  });

  test('D2: a victim that would free a deadlock does: with its wait ended, all others can finish', () => {
    fc.assert(
      fc.property(graphs, (graph) => {
        for (const members of findDeadlocks(findStuck(graph.keys(), viewOf(graph)))) {
          const trial = new VictimTrial(members);
          for (const victim of members) {
            const rest = new Map(graph);
            rest.delete(victim.id);
            const able = canFinish(rest);
            const freed = members.every(({ id }) => able.has(id) || id === victim.id);
            expect(trial.frees(victim)).toBe(freed);
          }
        }
      }),
    );
  });

  test('D2 and D4: after resolution every node can finish, and only nodes of deadlocks were victims', () => {
    fc.assert(
      fc.property(
        graphs,
        fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 7, maxLength: 7 }),
        (given, ranks) => {
          const graph = new Map<string, readonly Requirement[]>();
          const victims: string[] = [];
          const clock = createTestClock();
          const waits = new WaitForGraph({ runtime: createRuntime({ clock }) });
          const source: WaitSource = {
            requirements: (node) => graph.get(node) ?? [],
            waiting: () => graph.keys(),
            facts: (node) => ({ priority: ranks[NODES.indexOf(node)] ?? 0, since: 0 }),
            abort: (node) => {
              expect(canFinish(graph).has(node)).toBe(false);
              victims.push(node);
              return graph.delete(node);
            },
          };
          waits.addSource(source);
          for (const [node, requirements] of given) {
            const before = victims.length;
            graph.set(node, requirements);
            waits.entered(node);
            const able = canFinish(graph);
            for (const waiting of graph.keys()) expect(able.has(waiting)).toBe(true);
            // Every cycle that a new wait closes goes through it: one victim is enough.
            expect(victims.length - before).toBeLessThanOrEqual(1);
          }
        },
      ),
    );
  });

  afterAll(() => {
    expect(seen.runs).toBeGreaterThan(0);
    // Otherwise these properties say little: a cycle that is no deadlock is what sets reduction apart.
    expect(seen.stuck / seen.runs).toBeGreaterThan(0.15);
    expect(seen.cycleButFree / seen.runs).toBeGreaterThan(0.02);
    expect(seen.several).toBeGreaterThan(0);
  });
});

describe('victims', () => {
  const candidate = fc.record({
    node: fc.constantFrom(...NODES),
    priority: fc.integer({ min: 0, max: 3 }),
    defeats: fc.integer({ min: 0, max: 6 }),
    since: fc.integer({ min: 0, max: 3 }),
    locks: fc.integer({ min: 0, max: 3 }),
  });

  test('the order is total: the same candidates give the same victim, in whatever order they come', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(candidate, { selector: ({ node }) => node, minLength: 1, maxLength: 7 }),
        fc.integer(),
        (candidates, seed) => {
          const [victim] = candidates.toSorted(compareVictims);
          const [again] = shuffled(candidates, seed).sort(compareVictims);
          expect(again).toEqual(victim);
        },
      ),
    );
  });

  test('D5: who lost four times in a row is spared as long as another one did not', () => {
    fc.assert(
      fc.property(candidate, candidate, (a, b) => {
        if (a.node === b.node) return;
        const [victim] = [a, b].sort(compareVictims) as [VictimCandidate, VictimCandidate];
        if (a.defeats >= 4 !== b.defeats >= 4) expect(victim.defeats).toBeLessThan(4);
        else if (a.defeats < 4 && a.priority !== b.priority)
          expect(victim.priority).toBe(Math.min(a.priority, b.priority));
      }),
    );
  });
});

function checkDeadlock(members: readonly StuckNode[]): void {
  const inside = new Set(members);
  for (const member of members) {
    for (const need of member.unmet) for (const { on } of need.pending) expect(inside.has(on)).toBe(true);
    const cycle = cycleThrough(member);
    expect(cycle.length).toBeGreaterThan(0);
    expect(cycle[0]?.waiter).toBe(member.id);
    expect(cycle.at(-1)?.holder).toBe(member.id);
    cycle.forEach((edge, i) => expect(edge.holder).toBe(cycle[(i + 1) % cycle.length]?.waiter));
    expect(new Set(cycle.map((edge) => edge.waiter)).size).toBe(cycle.length);
  }
}

/** What a detector that takes every cycle for a deadlock would report. */
function hasCycle(graph: Graph): boolean {
  return [...graph.keys()].some((start) => {
    const open = [start];
    const visited = new Set<string>();
    for (let node = open.pop(); node !== undefined; node = open.pop()) {
      for (const { blockers } of graph.get(node) ?? []) {
        for (const { node: to } of blockers) {
          if (to === start) return true;
          if (!visited.has(to)) open.push(to);
          visited.add(to);
        }
      }
    }
    return false;
  });
}

function shuffled<T>(items: readonly T[], seed: number): T[] {
  return items.toSorted((a, b) => hash(`${seed}${JSON.stringify(a)}`) - hash(`${seed}${JSON.stringify(b)}`));
}

function hash(text: string): number {
  let sum = 7;
  for (let i = 0; i < text.length; i++) sum = Math.imul(sum ^ text.charCodeAt(i), 0x01000193);
  return sum;
}
