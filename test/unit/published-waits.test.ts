import { expect, test } from 'vitest';
import type { CycleEdge } from '../../src/core/ports/locks.ts';
import type { Requirement, WaitSource } from '../../src/core/waits.ts';
import { edgesToPublish, PublishedWaits } from '../../src/resources/published-waits.ts';

const edge = (waiter: string, holder: string): CycleEdge => ({ waiter, holder, by: 'child', what: holder });

function sourceOf(waits: Readonly<Record<string, readonly Requirement[]>>): WaitSource {
  return {
    waiting: () => Object.keys(waits),
    requirements: (node) => waits[node] ?? [],
    abort: () => false,
  };
}

test('D1: of a wait for any one of several nothing is published; of one for all of them each', () => {
  const blockers = ['x', 'y'].map((node) => ({ node, frees: 1 }));
  const any = sourceOf({ a: [{ by: 'child', what: 'any', blockers, needs: 1 }] });
  const all = sourceOf({ b: [{ by: 'child', what: 'all', blockers, needs: 2 }] });
  expect(edgesToPublish([any])).toEqual([]);
  expect(edgesToPublish([any, all]).map(({ waiter, holder }) => waiter + holder)).toEqual(['bx', 'by']);
});

test('D1: what others published is believed when it has stood for a while, and afresh when it comes back', () => {
  const waits = new PublishedWaits();
  const seen = (now: number, ...edges: CycleEdge[]) => waits.believed(edges, now);
  expect(seen(0, edge('a', 'b'))).toEqual({ edges: [], doubtful: true });
  expect(seen(200, edge('a', 'b'))).toEqual({ edges: [], doubtful: true });
  expect(seen(260, edge('a', 'b'))).toEqual({ edges: [edge('a', 'b')], doubtful: false });
  expect(seen(300)).toEqual({ edges: [], doubtful: false });
  expect(seen(310, edge('a', 'b'))).toEqual({ edges: [], doubtful: true });
});

test('D1: what this process published is left out: it knows its waits as they are now', () => {
  const waits = new PublishedWaits();
  waits.own = [edge('a', 'b')];
  waits.believed([edge('a', 'b'), edge('c', 'd')], 0);
  expect(waits.believed([edge('a', 'b'), edge('c', 'd')], 1_000).edges).toEqual([edge('c', 'd')]);
  expect(waits.differs([edge('a', 'b')])).toBe(false);
  expect(waits.differs([])).toBe(true);
});
