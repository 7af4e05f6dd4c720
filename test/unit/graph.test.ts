import { describe, expect, test } from 'vitest';
import { isCoordinationError } from '../../src/core/errors.ts';
import { DependencyGraph } from '../../src/dependency-graph/dependency-graph.ts';
import type { GraphTask } from '../../src/dependency-graph/graph-task.ts';

function graphOf(...tasks: readonly GraphTask[]): DependencyGraph {
  const graph = new DependencyGraph();
  for (const task of tasks) graph.addTask(task);
  return graph;
}

const errorOf = (call: () => unknown): unknown => {
  try {
    call();
  } catch (error) {
    return error;
  }
  return 'nothing was thrown';
};

describe('DependencyGraph, ready set', () => {
  test('a whole task record is accepted as it is', () => {
    const record = {
      id: 'task1',
      type: 'edit',
      description: 'x',
      priority: 5,
      dependencies: [] as string[],
      status: 'pending',
      input: { a: 1 },
      createdAt: new Date(0),
      metadata: {},
    };
    const graph = graphOf(record);
    expect(graph.getReadyTasks()).toEqual(['task1']);
    expect(graph.markCompleted('task1')).toEqual([]);
  });

  test('getReadyTasks orders by priority, then by age', () => {
    const graph = graphOf(
      { id: 'old low', priority: 'low' },
      { id: 'old high', priority: 'high' },
      { id: 'default' },
      { id: 'young high', priority: 3 },
      { id: 'urgent', priority: 900 },
      { id: 'blocked', priority: 1_000, dependencies: ['default'] },
    );
    expect(graph.getReadyTasks()).toEqual(['urgent', 'old high', 'young high', 'default', 'old low']);
  });

  test('markCompleted returns what its completion made ready, once', () => {
    const graph = graphOf({ id: 'a' }, { id: 'b' }, { id: 'c', dependencies: ['a', 'b', 'a'] });
    expect(graph.unmetDependencies('c')).toEqual(['a', 'b']);
    expect(graph.markCompleted('a')).toEqual([]);
    expect(graph.isTaskReady('c')).toBe(false);
    expect(graph.markCompleted('b')).toEqual(['c']);
    expect(graph.markCompleted('b')).toEqual([]);
    expect(graph.isTaskReady('c')).toBe(true);
    expect(graph.isTaskReady('nobody')).toBe(false);
  });

  test('a dependency may be named before it is added, and holds its dependents back until it is done', () => {
    const graph = graphOf({ id: 'child', dependencies: ['parent'] });
    expect(graph.standingOf('parent')).toBe('referenced');
    expect(graph.getReadyTasks()).toEqual([]);
    expect(graph.topologicalSort()).toEqual(['child']);
    graph.addTask({ id: 'parent' });
    expect(graph.getReadyTasks()).toEqual(['parent']);
    expect(graph.markCompleted('parent')).toEqual(['child']);
  });

  test('a dependency on a completed task counts at once', () => {
    const graph = graphOf({ id: 'a' });
    graph.markCompleted('a');
    expect(graph.addTask({ id: 'b', dependencies: ['a'] }).ready).toEqual(['b']);
  });

  test('removeTask frees those that waited for it, and forgets what only it named', () => {
    const graph = graphOf({ id: 'b', dependencies: ['a', 'ghost'] }, { id: 'c', dependencies: ['b'] });
    graph.addTask({ id: 'a' });
    expect(graph.removeTask('b')).toEqual(['c']);
    expect(graph.standingOf('ghost')).toBeUndefined();
    expect(graph.standingOf('a')).toBe('ready');
    expect(graph.removeTask('b')).toEqual([]);
    expect(graph.addTask({ id: 'b' }).ready).toEqual(['b']);
  });

  test.each(['constructor', '__proto__', 'toString', 'hasOwnProperty', 'prototype'])(
    'the id %s is an id like any other',
    (id) => {
      const graph = graphOf({ id: 'child', dependencies: [id] });
      expect(graph.standingOf(id)).toBe('referenced');
      graph.addTask({ id, dependencies: [] });
      expect(graph.getAllDependents(id)).toEqual(['child']);
      expect(graph.markCompleted(id)).toEqual(['child']);
      expect(graph.topologicalSort()).toEqual([id, 'child']);
    },
  );
});

describe('DependencyGraph, cycles', () => {
  test('a cycle is refused with its path, and nothing is changed', () => {
    const graph = graphOf(
      { id: 'a', dependencies: ['b'] },
      { id: 'b', dependencies: ['c'] },
      { id: 'd', dependencies: ['a'] },
    );
    const before = graph.snapshot();
    const error = errorOf(() => graph.addTask({ id: 'c', dependencies: ['new', 'd'] }));
    expect(isCoordinationError(error, 'DEPENDENCY_CYCLE')).toBe(true);
    expect((error as { path: unknown }).path).toEqual(['c', 'd', 'a', 'b', 'c']);
    expect(String(error)).toContain('c → d → a → b → c');
    expect(graph.snapshot()).toEqual(before);
    expect(graph.detectCycles()).toEqual([]);
    graph.addTask({ id: 'c' });
    expect(graph.markCompleted('c')).toEqual(['b']);
  });

  test('a task that depends on itself is a cycle of one', () => {
    const graph = new DependencyGraph();
    const error = errorOf(() => graph.addTask({ id: 'me', dependencies: ['other', 'me'] }));
    expect((error as { path: unknown }).path).toEqual(['me', 'me']);
    expect(graph.getStats()).toMatchObject({ nodes: 0, edges: 0, referenced: 0 });
  });

  test('the message of a long cycle names its ends only, the path names all', () => {
    const graph = new DependencyGraph();
    for (let i = 0; i < 1_000; i++) graph.addTask({ id: `t${i}`, dependencies: [`t${i + 1}`] });
    const error = errorOf(() => graph.addTask({ id: 't1000', dependencies: ['t0'] })) as Error;
    expect((error as Error & { path: string[] }).path).toHaveLength(1_002);
    expect(error.message.length).toBeLessThan(200);
  });
});

describe('DependencyGraph, failure policies', () => {
  const family = (): DependencyGraph =>
    graphOf(
      { id: 'p' },
      { id: 'cancelled', dependencies: ['p'] },
      { id: 'skipped', dependencies: [{ task: 'p', onFailure: 'skip' }] },
      { id: 'waits', dependencies: [{ task: 'p', onFailure: 'wait' }] },
      { id: 'continues', dependencies: [{ task: 'p', onFailure: 'continue' }] },
      { id: 'grandchild', dependencies: ['cancelled'] },
      { id: 'after skip', dependencies: [{ task: 'skipped', onFailure: 'continue' }] },
    );

  test('markFailed returns the ids to cancel, those of later generations too', () => {
    expect(family().markFailed('p')).toEqual(['cancelled', 'grandchild']);
  });

  test('settle tells what was skipped and what goes on, too', () => {
    const graph = family();
    expect(graph.settle('p', 'failed')).toEqual({
      cancelled: ['cancelled', 'grandchild'],
      skipped: ['skipped'],
      ready: ['continues', 'after skip'],
    });
    expect(graph.standingOf('waits')).toBe('waiting');
    expect(graph.unmetDependencies('waits')).toEqual(['p']);
    expect(graph.markFailed('p')).toEqual([]);
  });

  test('a redriven parent that completes frees those that kept waiting, and counts nothing twice', () => {
    const graph = graphOf(
      { id: 'p' },
      { id: 'q' },
      { id: 'waits', dependencies: [{ task: 'p', onFailure: 'wait' }] },
      { id: 'both', dependencies: [{ task: 'p', onFailure: 'continue' }, 'q'] },
    );
    graph.markFailed('p');
    expect(graph.markCompleted('p')).toEqual(['waits']);
    expect(graph.standingOf('both')).toBe('waiting');
    expect(graph.markCompleted('q')).toEqual(['both']);
  });

  test('an attempt that is not the last changes nothing', () => {
    const graph = family();
    expect(graph.markFailed('p', { final: false })).toEqual([]);
    expect(graph.markCompleted('p')).toEqual(['cancelled', 'skipped', 'waits', 'continues']);
  });

  test('a task added after its dependency failed ends at once, with all that named it', () => {
    const graph = graphOf({ id: 'grandchild', dependencies: ['child'] }, { id: 'p' });
    graph.markFailed('p');
    expect(graph.addTask({ id: 'child', dependencies: ['p'] })).toEqual({
      ready: [],
      cancelled: ['child', 'grandchild'],
      skipped: [],
    });
  });

  test('the default policy can be set', () => {
    const graph = new DependencyGraph(undefined, { onFailure: 'continue' });
    graph.addTask({ id: 'p' });
    graph.addTask({ id: 'c', dependencies: ['p'] });
    expect(graph.settle('p', 'cancelled').ready).toEqual(['c']);
  });
});

describe('DependencyGraph, analysis', () => {
  const build = (): DependencyGraph =>
    graphOf(
      { id: 'a', weight: 1 },
      { id: 'b', weight: 10 },
      { id: 'c', dependencies: ['a'], weight: 2 },
      { id: 'd', dependencies: ['b', 'c'], weight: 3 },
      { id: 'e', dependencies: ['d'], weight: 0.5 },
      { id: 'f' },
    );

  test('generations, order, dependents', () => {
    const graph = build();
    expect(graph.generations()).toEqual([['a', 'b', 'f'], ['c'], ['d'], ['e']]);
    expect(graph.topologicalSort()).toEqual(['a', 'b', 'f', 'c', 'd', 'e']);
    expect(graph.getAllDependents('a')).toEqual(['c', 'd', 'e']);
  });

  test('the critical path is the heaviest chain, not the one with most tasks', () => {
    expect(build().findCriticalPath()).toEqual({ path: ['b', 'd', 'e'], length: 13.5 });
    expect(new DependencyGraph().findCriticalPath()).toEqual({ path: [], length: 0 });
  });

  test('statistics', () => {
    const graph = build();
    graph.markCompleted('a');
    graph.markFailed('b');
    graph.addTask({ id: 'g', dependencies: ['h'] });
    expect(graph.getStats()).toEqual({
      nodes: 7,
      edges: 5,
      referenced: 1,
      waiting: 1,
      ready: 2,
      completed: 1,
      failed: 1,
      cancelled: 2,
      skipped: 0,
      depth: 4,
      maxDependencies: 2,
      maxDependents: 1,
    });
  });

  test('debug entries go to a logger that wants them', () => {
    const lines: string[] = [];
    const log = (message: string): void => void lines.push(message);
    const logger = { debug: log, info: log, warn: log, error: log };
    new DependencyGraph({ ...logger, isDebug: false }).addTask({ id: 'a' });
    expect(lines).toEqual([]);
    new DependencyGraph(logger).addTask({ id: 'a' });
    expect(lines).toEqual(['task added to the graph']);
  });
});

describe('DependencyGraph, bad input', () => {
  const hostile = new Proxy(
    {},
    {
      get: () => {
        throw new Error('no');
      },
    },
  );
  const bad: readonly (readonly [string, unknown])[] = [
    ['nothing', undefined],
    ['a string', 'task'],
    ['an array', []],
    ['no id', {}],
    ['an empty id', { id: '' }],
    ['a number as id', { id: 7 }],
    ['an id of 1,000 characters', { id: 'x'.repeat(1_000) }],
    ['an id with a newline', { id: 'a\nb' }],
    ['an id with NUL', { id: 'a\u0000' }],
    ['an id with a lone surrogate', { id: '\ud800' }],
    ['a proxy that throws', hostile],
    ['dependencies that are a string', { id: 'x', dependencies: 'abc' }],
    ['dependencies that are a Set', { id: 'x', dependencies: new Set(['a']) }],
    ['a dependency that is null', { id: 'x', dependencies: [null] }],
    ['a hole among the dependencies', { id: 'x', dependencies: Array(1) }],
    ['a dependency without task', { id: 'x', dependencies: [{ onFailure: 'skip' }] }],
    ['an unknown policy', { id: 'x', dependencies: [{ task: 'a', onFailure: 'explode' }] }],
    ['a policy called toString', { id: 'x', dependencies: [{ task: 'a', onFailure: 'toString' }] }],
    ['one dependency with two policies', { id: 'x', dependencies: ['a', { task: 'a', onFailure: 'skip' }] }],
    ['a negative weight', { id: 'x', weight: -1 }],
    ['a weight of NaN', { id: 'x', weight: Number.NaN }],
    ['an infinite weight', { id: 'x', weight: Number.POSITIVE_INFINITY }],
    ['a priority of NaN', { id: 'x', priority: Number.NaN }],
    ['a priority word nobody knows', { id: 'x', priority: 'urgent' }],
    ['an id that is there', { id: 'there' }],
  ];

  test.each(bad)('addTask refuses %s, and changes nothing', (_title, task) => {
    const graph = graphOf({ id: 'there', dependencies: ['ghost'] });
    const before = graph.snapshot();
    expect(
      isCoordinationError(
        errorOf(() => graph.addTask(task as GraphTask)),
        'INVALID_ARGUMENT',
      ),
    ).toBe(true);
    expect(graph.snapshot()).toEqual(before);
  });

  const calls: readonly (readonly [string, string, (graph: DependencyGraph) => unknown])[] = [
    ['markCompleted of an unknown id', 'UNKNOWN_TASK', (graph) => graph.markCompleted('nobody')],
    ['markCompleted of a task that is only named', 'UNKNOWN_TASK', (graph) => graph.markCompleted('ghost')],
    ['markFailed of an unknown id', 'UNKNOWN_TASK', (graph) => graph.markFailed('nobody')],
    [
      'a failed attempt of an unknown id',
      'UNKNOWN_TASK',
      (graph) => graph.markFailed('nobody', { final: false }),
    ],
    ['getAllDependents of an unknown id', 'UNKNOWN_TASK', (graph) => graph.getAllDependents('nobody')],
    ['unmetDependencies of an unknown id', 'UNKNOWN_TASK', (graph) => graph.unmetDependencies('nobody')],
    ['an unknown end', 'INVALID_ARGUMENT', (graph) => graph.settle('done', 'ready' as 'failed')],
    ['failing a completed task', 'INVALID_ARGUMENT', (graph) => graph.markFailed('done')],
    [
      'a `final` that is no boolean',
      'INVALID_ARGUMENT',
      (graph) => graph.markFailed('there', { final: 0 as never }),
    ],
    ['options that are null', 'INVALID_ARGUMENT', (graph) => graph.markFailed('there', null as never)],
    ['removeTask of a number', 'INVALID_ARGUMENT', (graph) => graph.removeTask(7 as never)],
    ['isTaskReady of undefined', 'INVALID_ARGUMENT', (graph) => graph.isTaskReady(undefined as never)],
    [
      'a default policy nobody knows',
      'INVALID_ARGUMENT',
      () => new DependencyGraph(undefined, { onFailure: 'x' as 'skip' }),
    ],
  ];

  test.each(calls)('%s: %s', (_title, code, call) => {
    const graph = graphOf({ id: 'done' }, { id: 'there', dependencies: ['ghost'] });
    graph.markCompleted('done');
    const before = graph.snapshot();
    expect(errorOf(() => call(graph))).toMatchObject({ code });
    expect(graph.snapshot()).toEqual(before);
  });
});

describe('DependencyGraph, size', () => {
  const SIZE = 100_000;
  const id = (i: number): string => `t${i}`;

  test.each([
    ['in order', (i: number) => i],
    ['in reverse, all forward references', (i: number) => SIZE - 1 - i],
    ['odd ones first', (i: number) => (i < SIZE / 2 ? 2 * i + 1 : 2 * i - SIZE)],
  ])('a chain of 100,000 added %s works in every call', (_title, at) => {
    const graph = new DependencyGraph();
    for (let n = 0; n < SIZE; n++) {
      const i = at(n);
      graph.addTask({ id: id(i), dependencies: i === 0 ? [] : [id(i - 1)] });
    }
    expect(graph.generations()).toHaveLength(SIZE);
    expect(graph.findCriticalPath().length).toBe(SIZE);
    expect(graph.getAllDependents(id(0))).toHaveLength(SIZE - 1);
    expect(graph.topologicalSort()?.at(-1)).toBe(id(SIZE - 1));
    expect(graph.markCompleted(id(0))).toEqual([id(1)]);
    expect(graph.markFailed(id(1))).toHaveLength(SIZE - 2);
  });

  test('closing a chain of 100,000 is refused with all of its path', () => {
    const graph = new DependencyGraph();
    for (let i = 1; i < SIZE; i++) graph.addTask({ id: id(i), dependencies: [id(i - 1)] });
    const error = errorOf(() => graph.addTask({ id: id(0), dependencies: [id(SIZE - 1)] }));
    expect((error as { path: unknown[] }).path).toHaveLength(SIZE + 1);
  });

  test('10,000 wide: fan-out, fan-in, and removal one by one', () => {
    const wide = Array.from({ length: 10_000 }, (_, i) => id(i));
    const graph = graphOf({ id: 'root' }, ...wide.map((leaf) => ({ id: leaf, dependencies: ['root'] })));
    graph.addTask({ id: 'join', dependencies: wide });
    expect(graph.markCompleted('root')).toHaveLength(10_000);
    for (const leaf of wide.slice(1)) graph.removeTask(leaf);
    expect(graph.unmetDependencies('join')).toEqual([wide[0]]);
    expect(graph.markCompleted(wide[0] as string)).toEqual(['join']);
    expect(graph.getStats()).toMatchObject({ nodes: 3, edges: 2 });
  });
});
