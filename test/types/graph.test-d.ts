import { assertType, expectTypeOf, test } from 'vitest';
import type { DependencyGraph, GraphTask } from '../../src/index.ts';

declare const graph: DependencyGraph;

test('addTask takes the documented task, written in place', () => {
  assertType(graph.addTask({ id: 'a', type: 'x', dependencies: [] }));
  assertType(
    graph.addTask({
      id: 'b',
      type: 'x',
      description: 'd',
      priority: 'high',
      dependencies: ['a'],
      input: { n: 1 },
      metadata: { owner: 'me' },
    }),
  );
  assertType<GraphTask>({ id: 'c', weight: 2, dependencies: [{ task: 'a', onFailure: 'skip' }] });
});

test('addTask refuses what is no task', () => {
  // @ts-expect-error a task has an id
  assertType(graph.addTask({ type: 'x' }));
  // @ts-expect-error dependencies are ids
  assertType(graph.addTask({ id: 'a', dependencies: [1] }));
  // @ts-expect-error priority, misspelt
  assertType(graph.addTask({ id: 'a', priorty: 1 }));
});

test('what the graph answers', () => {
  expectTypeOf(graph.getReadyTasks()).toEqualTypeOf<readonly string[]>();
  expectTypeOf(graph.markCompleted('a')).toEqualTypeOf<readonly string[]>();
  expectTypeOf(graph.topologicalSort()).toEqualTypeOf<readonly string[] | null>();
});
