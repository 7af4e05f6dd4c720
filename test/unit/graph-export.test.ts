import { DirectedGraph } from 'graphology';
import { describe, expect, test } from 'vitest';
import { DependencyGraph } from '../../src/dependency-graph/dependency-graph.ts';
import { exportGraph } from '../../src/dependency-graph/graphology.ts';

const NASTY = [
  'plain',
  'quote" and \\ backslash',
  'trailing \\',
  '</text><script>alert(1)</script>',
  '&amp; entity',
  '%%{init: {"securityLevel": "loose"}}%%',
  '"]; evil["',
  '`**markdown**`',
  'a\\nb',
  '日本語 🙂',
  '\u202Ertl',
  '__proto__',
];

function nastyGraph(): DependencyGraph {
  const graph = new DependencyGraph();
  for (const [i, id] of NASTY.entries())
    graph.addTask({ id, dependencies: i === 0 ? [] : [NASTY[i - 1] as string] });
  return graph;
}

describe('Export of a dependency graph', () => {
  test('DOT draws nodes, states, policies and what is only named', () => {
    const graph = new DependencyGraph();
    graph.addTask({ id: 'a' });
    graph.addTask({ id: 'b', dependencies: ['a', { task: 'ghost', onFailure: 'skip' }] });
    graph.markCompleted('a');
    expect(graph.toDot()).toBe(`digraph dependencies {
  rankdir=LR;
  node [shape=box, style="rounded,filled"];
  n0 [label="a", fillcolor="#c8e6c9"];
  n1 [label="b", fillcolor="#eceff1"];
  n2 [label="ghost", fillcolor="#ffffff", style="rounded,dashed"];
  n0 -> n1;
  n2 -> n1 [label="skip"];
}
`);
  });

  test('Mermaid draws the same', () => {
    const graph = new DependencyGraph();
    graph.addTask({ id: 'a' });
    graph.addTask({ id: 'b', dependencies: ['a', { task: 'ghost', onFailure: 'skip' }] });
    const lines = graph.toMermaid().split('\n');
    expect(lines.slice(0, 6)).toEqual([
      'flowchart LR',
      '  n0["a"]:::ready',
      '  n1["b"]:::waiting',
      '  n2["ghost"]:::referenced',
      '  n0 --> n1',
      '  n2 -->|skip| n1',
    ]);
    expect(lines.filter((line) => line.startsWith('  classDef '))).toHaveLength(7);
  });

  test('no id gets out of its label in DOT, and unescaping gives it back', () => {
    const labels = [
      ...nastyGraph()
        .toDot()
        .matchAll(/^ {2}n\d+ \[label="((?:[^"\\]|\\.)*)", fillcolor="#\w+"\];$/gmu),
    ];
    const unescaped = labels.map(([, label]) =>
      (label as string).replaceAll(/\\(.)/gu, '$1').replaceAll('&amp;', '&'),
    );
    expect(unescaped).toEqual(NASTY);
  });

  test('no id gets out of its label in Mermaid, and decoding gives it back', () => {
    const labels = [
      ...nastyGraph()
        .toMermaid()
        .matchAll(/^ {2}n\d+\["([^"]*)"\]:::\w+$/gmu),
    ].map(([, label]) => label as string);
    for (const label of labels) expect(label).toMatch(/^(?:[\p{L}\p{N} .,:/_-]|#\d+;)*$/u);
    const decoded = labels.map((label) =>
      label.replaceAll(/#(\d+);/gu, (_, code: string) => String.fromCodePoint(Number(code))),
    );
    expect(decoded).toEqual(NASTY);
  });

  test('graphology gets every node and edge, whatever the ids', async () => {
    const exported = await nastyGraph().toGraphology();
    expect(exported.order).toBe(NASTY.length);
    expect(exported.size).toBe(NASTY.length - 1);
    expect(exported.mapNodes((_, attributes) => attributes['id'] as string)).toEqual(NASTY);
    expect(exported.hasEdge('task:\u202Ertl', 'task:__proto__')).toBe(true);
  });

  test('exportGraph fills a graph of the caller', () => {
    const graph = new DependencyGraph();
    graph.addTask({ id: 'constructor', dependencies: [{ task: 'toString', onFailure: 'wait' }], weight: 3 });
    const target = exportGraph(graph.snapshot(), new DirectedGraph());
    expect(target.getNodeAttributes('task:constructor')).toEqual({
      id: 'constructor',
      standing: 'waiting',
      priority: 2,
      weight: 3,
    });
    expect(target.getEdgeAttributes('task:toString', 'task:constructor')).toEqual({ onFailure: 'wait' });
  });

  test('a snapshot is JSON-safe and can be added again', () => {
    const snapshot = JSON.parse(JSON.stringify(nastyGraph().snapshot())) as ReturnType<
      DependencyGraph['snapshot']
    >;
    const copy = new DependencyGraph();
    for (const task of snapshot.tasks) copy.addTask(task);
    expect(copy.snapshot()).toEqual(snapshot);
  });
});
