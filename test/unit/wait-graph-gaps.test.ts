import { describe, expect, test } from 'vitest';
import type { NodeFacts, Requirement, WaitSource } from '../../src/core/waits.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import { WaitForGraph } from '../../src/resources/wait-for-graph.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';

/** A graph over waits that are written down by hand; a node that is not named waits for nothing. */
function graphOf(
  waits: Readonly<Record<string, readonly string[]>>,
  facts: Readonly<Record<string, Partial<NodeFacts>>> = {},
) {
  const open = new Map(
    Object.entries(waits).map(([node, holders]): [string, readonly Requirement[]] => [
      node,
      holders.map((holder) => ({
        by: 'lock',
        what: `held by ${holder}`,
        blockers: [{ node: holder, frees: 1 }],
        needs: 1,
      })),
    ]),
  );
  const victims: string[] = [];
  const graph = new WaitForGraph({ runtime: createRuntime({ clock: createTestClock() }) });
  const source: WaitSource = {
    requirements: (node) => open.get(node) ?? [],
    waiting: () => open.keys(),
    facts: (node) => ({ priority: 2, since: 0, ...facts[node] }),
    abort(node) {
      victims.push(node);
      return open.delete(node);
    },
  };
  graph.addSource(source);
  return { graph, victims, open };
}

/** Two cycles that share `hub`: ending its wait breaks both, ending another's breaks one. */
const EIGHT = { hub: ['left', 'right'], left: ['hub'], right: ['hub'] } as const;

describe('who is spared', () => {
  test('D3: whose wait is in every cycle is the one victim, though others would come first', () => {
    const { graph, victims } = graphOf(EIGHT, { hub: { priority: 9, defeats: 3 } });
    graph.sweep();
    expect(victims).toEqual(['hub']);
  });

  test('D5: rather two victims than one that has lost four times in a row', () => {
    const { graph, victims, open } = graphOf(EIGHT, { hub: { priority: 0, defeats: 4 } });
    graph.sweep();
    expect(victims.toSorted()).toEqual(['left', 'right']);
    expect([...open.keys()]).toEqual(['hub']);
  });

  test('D5: what the graph itself has counted spares as well', () => {
    const { graph, victims, open } = graphOf(EIGHT, { hub: { priority: 0 } });
    const hub = open.get('hub') as readonly Requirement[];
    const others = [...open].filter(([node]) => node !== 'hub');
    for (let round = 0; round < 5; round++) {
      for (const [node, needs] of others) open.set(node, needs);
      open.set('hub', hub);
      graph.entered('hub');
    }
    expect(victims.slice(0, 4)).toEqual(['hub', 'hub', 'hub', 'hub']);
    expect(victims.slice(4).toSorted()).toEqual(['left', 'right']);
  });

  test('D2, D5: where all have lost that often, the one that breaks every cycle is the victim all the same', () => {
    const { graph, victims } = graphOf(EIGHT, {
      hub: { defeats: 9 },
      left: { defeats: 4 },
      right: { defeats: 4 },
    });
    graph.sweep();
    expect(victims).toEqual(['hub']);
  });

  test('D3: where nobody that may lose is enough, whoever closed the cycles goes first', () => {
    // By priority `left` would be first.
    const facts = { hub: { defeats: 4 }, left: { priority: 1 }, right: { priority: 3 } };
    for (const newcomer of ['left', 'right']) {
      const { graph, victims } = graphOf(EIGHT, facts);
      graph.entered(newcomer);
      expect(victims[0]).toBe(newcomer);
    }
  });
});
