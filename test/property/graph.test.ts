import fc from 'fast-check';
import dag from 'graphology-dag';
import { expect, test } from 'vitest';
import { DependencyGraph } from '../../src/dependency-graph/dependency-graph.ts';
import {
  GraphModel,
  type End,
  type ModelChange,
  type ModelDependency,
  type Policy,
} from '../support/graph-model.ts';

/** Runs from which on the share of hard cases is checked. */
const ENOUGH = 500;
const POLICIES: readonly Policy[] = ['cancel', 'skip', 'wait', 'continue'];
/** Few, so that commands meet; some of them poison an object used as a map. */
const IDS = ['a', 'b', 'c', 'd', 'e', 'f', 'constructor', '__proto__', 'toString'];

const idOf = fc.constantFrom(...IDS);
const dependencyOf = fc.record({ task: idOf, onFailure: fc.constantFrom(...POLICIES) });
const dependenciesOf = fc.uniqueArray(dependencyOf, { maxLength: 4, selector: (d) => d.task });

interface Model {
  readonly model: GraphModel;
  readonly seen: { cycles: number; cascades: number; redrives: number };
}
type GraphCommand = fc.Command<Model, DependencyGraph>;

/** Runs one step on both sides, then compares all there is to see. */
function command(title: string, step: (sides: Model, graph: DependencyGraph) => void): GraphCommand {
  return {
    check: () => true,
    run: (sides, graph) => {
      step(sides, graph);
      expectSame(sides.model, graph);
    },
    toString: () => title,
  };
}

const add = (
  id: string,
  dependencies: readonly ModelDependency[],
  priority: number,
  weight: number,
): GraphCommand =>
  command(`add(${JSON.stringify({ id, dependencies, priority, weight })})`, ({ model, seen }, graph) => {
    const task = { id, dependencies, priority, weight };
    const refusal = model.refusal(id, dependencies);
    if (refusal === undefined) {
      expectChange(graph.addTask(task), model.add(id, dependencies, priority, weight));
      return;
    }
    const error = thrownBy(() => graph.addTask(task));
    expect(error.code).toBe(refusal);
    if (refusal !== 'DEPENDENCY_CYCLE') return;
    seen.cycles += 1;
    expectCycle(model, task, error.path ?? []);
  });

const remove = (id: string): GraphCommand =>
  command(`remove(${id})`, ({ model }, graph) => {
    expect(graph.removeTask(id).toSorted()).toEqual(model.remove(id).toSorted());
  });

const settle = (id: string, as: End): GraphCommand =>
  command(`settle(${id}, ${as})`, ({ model, seen }, graph) => {
    if (model.find(id)?.end === 'failed' && as === 'completed') seen.redrives += 1;
    const expected = model.settle(id, as);
    if (typeof expected === 'string') {
      expect(thrownBy(() => graph.settle(id, as)).code).toBe(expected);
      return;
    }
    seen.cascades += expected.cancelled.length + expected.skipped.length;
    expectChange(graph.settle(id, as), expected);
  });

const failAttempt = (id: string): GraphCommand =>
  command(`failAttempt(${id})`, ({ model }, graph) => {
    if (model.find(id)) expect(graph.markFailed(id, { final: false })).toEqual([]);
    else expect(thrownBy(() => graph.markFailed(id, { final: false })).code).toBe('UNKNOWN_TASK');
  });

function thrownBy(call: () => unknown): { readonly code?: string; readonly path?: readonly string[] } {
  try {
    call();
  } catch (error) {
    return error as { code?: string };
  }
  return {};
}

/** The order inside a change isn't promised. */
function expectChange(change: ModelChange, expected: ModelChange): void {
  const sorted = ({ ready, cancelled, skipped }: ModelChange): unknown => [
    ready.toSorted(),
    cancelled.toSorted(),
    skipped.toSorted(),
  ];
  expectEqual(sorted(change), sorted(expected));
}

function expectCycle(
  model: GraphModel,
  task: { readonly id: string; readonly dependencies: readonly ModelDependency[] },
  path: readonly string[],
): void {
  expect([path.at(0), path.at(-1)]).toEqual([task.id, task.id]);
  for (const [i, id] of path.slice(0, -1).entries()) {
    const dependencies = id === task.id ? task.dependencies : (model.find(id)?.dependencies ?? []);
    expect(dependencies.map((d) => d.task)).toContain(path[i + 1]);
  }
}

function expectSame(model: GraphModel, graph: DependencyGraph): void {
  expectEqual(pictureOf(graph), pictureOfModel(model));
  const order = graph.topologicalSort() as readonly string[];
  for (const task of model.tasks)
    for (const { task: parent } of task.dependencies)
      if (order.indexOf(parent) >= order.indexOf(task.id)) expect(order).toBe(`${parent} before ${task.id}`);
  expectCriticalPath(model, graph);
}

function pictureOf(graph: DependencyGraph): unknown {
  const { nodes, edges, referenced, ready, depth } = graph.getStats();
  const levels = new Map(graph.generations().flatMap((ids, level) => ids.map((id) => [id, level])));
  return {
    stats: { nodes, edges, referenced, ready, depth },
    ready: graph.getReadyTasks(),
    sorted: graph.topologicalSort()?.toSorted(),
    length: graph.findCriticalPath().length,
    named: graph.snapshot().referenced.toSorted(),
    tasks: graph.snapshot().tasks.map(({ id, dependencies }) => ({
      id,
      dependencies,
      standing: graph.standingOf(id),
      isReady: graph.isTaskReady(id),
      unmet: graph.unmetDependencies(id),
      dependents: graph.getAllDependents(id).toSorted(),
      level: levels.get(id),
    })),
  };
}

function pictureOfModel(model: GraphModel): unknown {
  const { tasks } = model;
  return {
    stats: {
      nodes: tasks.length,
      edges: tasks.reduce((sum, task) => sum + task.dependencies.length, 0),
      referenced: model.referenced().length,
      ready: model.ready().length,
      depth: Math.max(0, ...tasks.map((task) => model.level(task) + 1)),
    },
    ready: model.ready(),
    sorted: tasks.map((task) => task.id).toSorted(),
    length: Math.max(0, ...tasks.map((task) => model.chain(task))),
    named: model.referenced().toSorted(),
    tasks: tasks.map((task) => ({
      id: task.id,
      dependencies: task.dependencies,
      standing: model.standing(task.id),
      isReady: model.standing(task.id) === 'ready',
      unmet: model.unmet(task),
      dependents: [...model.dependents(task.id)].toSorted(),
      level: model.level(task),
    })),
  };
}

function expectCriticalPath(model: GraphModel, graph: DependencyGraph): void {
  const { path, length } = graph.findCriticalPath();
  const tasks = path.map((id) => model.find(id));
  expectEqual(
    tasks.reduce((sum, task) => sum + (task?.weight ?? Number.NaN), 0),
    length,
  );
  for (const [i, task] of tasks.slice(1).entries())
    if (!task?.dependencies.some((d) => d.task === path[i])) expect(path).toBe('a chain');
}

/** As `toEqual` for plain data, and fast while it holds. */
function expectEqual(found: unknown, expected: unknown): void {
  if (JSON.stringify(found) !== JSON.stringify(expected)) expect(found).toEqual(expected);
}

test('The graph answers like a model that recomputes everything: always acyclic, a child becomes ready exactly once, policies cascade', () => {
  const adds = fc
    .tuple(idOf, dependenciesOf, fc.integer({ min: 1, max: 3 }), fc.integer({ min: 0, max: 5 }))
    .map((facts) => add(...facts));
  const ends = fc.constantFrom<End>('completed', 'completed', 'failed', 'failed', 'cancelled', 'skipped');
  const settles = fc.tuple(idOf, ends).map((facts) => settle(...facts));
  const commandsOf = fc.commands([adds, adds, adds, settles, idOf.map(remove), idOf.map(failAttempt)], {
    size: '+1',
    maxCommands: 50,
  });
  const total = { cycles: 0, cascades: 0, redrives: 0, runs: 0 };
  fc.assert(
    fc.property(commandsOf, (commands) => {
      const seen = { cycles: 0, cascades: 0, redrives: 0 };
      fc.modelRun(
        () => ({ model: { model: new GraphModel(), seen }, real: new DependencyGraph() }),
        commands,
      );
      total.runs += 1;
      if (seen.cycles > 0) total.cycles += 1;
      if (seen.cascades > 0) total.cascades += 1;
      if (seen.redrives > 0) total.redrives += 1;
    }),
  );
  // Runs that never meet the hard cases prove nothing; a replay of a few needn't.
  if (total.runs < ENOUGH) return;
  expect(total.cycles / total.runs).toBeGreaterThan(0.2);
  expect(total.cascades / total.runs).toBeGreaterThan(0.1);
  expect(total.redrives).toBeGreaterThan(0);
});

/** A random DAG of tasks `0…n−1`, edges from smaller to larger, in a random order of addition. */
const dagOf = fc
  .integer({ min: 1, max: 30 })
  .chain((size) =>
    fc.tuple(
      fc.array(
        fc.uniqueArray(fc.record({ parent: fc.nat(size), onFailure: fc.constantFrom(...POLICIES) }), {
          maxLength: 4,
          selector: (edge) => edge.parent,
        }),
        { minLength: size, maxLength: size },
      ),
      fc.shuffledSubarray([...Array(size).keys()], { minLength: size }),
    ),
  )
  .map(([edges, addition]) =>
    addition.map((i) => ({
      id: `t${i}`,
      dependencies: (edges[i] ?? [])
        .filter(({ parent }) => parent < i)
        .map(({ parent, onFailure }) => ({ task: `t${parent}`, onFailure })),
    })),
  );

test('A random DAG with random failure policies ends: each task is ready at most once, and only what waits for a redrive is left', () => {
  fc.assert(
    fc.property(dagOf, fc.infiniteStream(fc.nat(9)), (tasks, dice) => {
      const graph = new DependencyGraph();
      for (const task of tasks) graph.addTask(task);
      const wasReady = new Set<string>();
      const enter = (ids: readonly string[]): void => {
        for (const id of ids) {
          expect(wasReady.has(id)).toBe(false);
          wasReady.add(id);
        }
      };
      const ended = new Map<string, string>();
      enter(graph.getReadyTasks());
      for (let ready = graph.getReadyTasks(); ready.length > 0; ready = graph.getReadyTasks()) {
        const id = ready[(dice.next().value as number) % ready.length] as string;
        const as = (dice.next().value as number) < 6 ? 'completed' : 'failed';
        const change = graph.settle(id, as);
        enter(change.ready);
        for (const done of [id, ...change.cancelled, ...change.skipped]) {
          expect(ended.has(done)).toBe(false);
          ended.set(done, graph.standingOf(done) as string);
        }
        expect(change.cancelled.every((child) => graph.standingOf(child) === 'cancelled')).toBe(true);
        expect(change.skipped.every((child) => graph.standingOf(child) === 'skipped')).toBe(true);
      }
      for (const { id, dependencies } of tasks) {
        if (ended.has(id)) continue;
        const holding = dependencies.filter(({ task }) => graph.unmetDependencies(id).includes(task));
        expect(holding).not.toEqual([]);
        for (const { task, onFailure } of holding)
          expect(!ended.has(task) || (onFailure === 'wait' && ended.get(task) !== 'completed')).toBe(true);
      }
    }),
  );
});

test('Generations and order agree with graphology-dag on the exported graph', async () => {
  await fc.assert(
    fc.asyncProperty(dagOf, async (tasks) => {
      const graph = new DependencyGraph();
      for (const task of tasks) graph.addTask(task);
      const exported = await graph.toGraphology();
      const theirs = dag
        .topologicalGenerations(exported)
        .map((keys) => keys.map((key) => exported.getNodeAttribute(key, 'id') as string).toSorted());
      expect(graph.generations().map((ids) => ids.toSorted())).toEqual(theirs);
      expect(dag.hasCycle(exported)).toBe(false);
      expect(graph.detectCycles()).toEqual([]);
    }),
  );
});

// ── interleavings

/** How a task ends that needs nobody's leave: by its parents' ends and its own fate, whatever the order of events. */
function endOf(
  id: string,
  tasks: ReadonlyMap<string, readonly ModelDependency[]>,
  fates: ReadonlyMap<string, End>,
): 'completed' | 'failed' | 'ended' | 'waiting' {
  const parents = (tasks.get(id) as readonly ModelDependency[]).map(({ task, onFailure }) => ({
    end: endOf(task, tasks, fates),
    onFailure,
  }));
  const bad = parents.filter(({ end }) => end === 'failed' || end === 'ended');
  if (bad.some(({ onFailure }) => onFailure === 'cancel' || onFailure === 'skip')) return 'ended';
  if (parents.some(({ end }) => end === 'waiting') || bad.some(({ onFailure }) => onFailure === 'wait'))
    return 'waiting';
  return fates.get(id) === 'failed' ? 'failed' : 'completed';
}

/** Several workers that add tasks, run what is ready and report, each in its own time. */
class Crew {
  readonly graph = new DependencyGraph();
  readonly model = new GraphModel();
  /** How often each task came to be ready. */
  readonly wasReady = new Map<string, number>();
  readonly ended: string[] = [];
  readonly #fates: ReadonlyMap<string, End>;
  readonly #pause: (label: string) => Promise<unknown>;
  /** Reported as failed by mistake first, and put right later. */
  readonly #doubted: ReadonlySet<string>;

  constructor(
    fates: ReadonlyMap<string, End>,
    doubted: ReadonlySet<string>,
    pause: (label: string) => Promise<unknown>,
  ) {
    this.#fates = fates;
    this.#doubted = doubted;
    this.#pause = pause;
  }

  async add(task: { readonly id: string; readonly dependencies: readonly ModelDependency[] }): Promise<void> {
    await this.#pause(`add ${task.id}`);
    const { graph, model } = this;
    await this.#goOn(graph.addTask(task), model.add(task.id, task.dependencies, 0, 1));
  }

  async #run(id: string): Promise<void> {
    await this.#pause(`run ${id}`);
    const { graph, model } = this;
    if (this.#doubted.has(id)) {
      // An attempt that isn't the last changes nothing for anybody.
      expect(graph.markFailed(id, { final: false })).toEqual([]);
      await this.#pause(`run ${id} again`);
    }
    const fate = this.#fates.get(id) as End;
    await this.#goOn(graph.settle(id, fate), model.settle(id, fate) as ModelChange);
    await this.#pause(`report ${id} again`);
    // Told twice: the second time nothing happens.
    expect(graph.settle(id, fate)).toEqual({ ready: [], cancelled: [], skipped: [] });
  }

  async #goOn(change: ModelChange, expected: ModelChange): Promise<void> {
    expectChange(change, expected);
    for (const id of [...change.cancelled, ...change.skipped]) {
      expect(this.ended).not.toContain(id);
      this.ended.push(id);
    }
    for (const id of change.ready) this.wasReady.set(id, (this.wasReady.get(id) ?? 0) + 1);
    await Promise.all(change.ready.map((id) => this.#run(id)));
  }
}

test('However additions, completions and failures of concurrent callers fall, each answer is the model’s, a child becomes ready exactly once, and all end as their parents say', async () => {
  const seen = { runs: 0, ended: 0, waiting: 0 };
  await fc.assert(
    fc.asyncProperty(
      fc.scheduler(),
      dagOf,
      fc.array(fc.constantFrom<End>('completed', 'completed', 'failed'), { minLength: 30, maxLength: 30 }),
      fc.array(fc.nat(29), { maxLength: 6 }),
      async (s, tasks, ends, doubts) => {
        const few = tasks.filter(({ id }) => Number(id.slice(1)) < 12);
        const fates = new Map(few.map(({ id }) => [id, ends[Number(id.slice(1))] as End]));
        const doubted = new Set(doubts.map((i) => `t${i}`));
        const crew = new Crew(fates, doubted, (label) => s.schedule(Promise.resolve(), label));
        const work = few.map((task) => crew.add(task));
        await s.waitFor(Promise.all(work));
        expectSame(crew.model, crew.graph);
        const known = new Map(few.map(({ id, dependencies }) => [id, dependencies]));
        seen.runs += 1;
        for (const { id } of few) {
          const expected = endOf(id, known, fates);
          const standing = crew.graph.standingOf(id);
          expect(standing === 'cancelled' || standing === 'skipped' ? 'ended' : standing).toBe(expected);
          const ran = expected === 'completed' || expected === 'failed';
          expect([id, crew.wasReady.get(id) ?? 0]).toEqual([id, ran ? 1 : 0]);
          if (expected === 'ended') seen.ended += 1;
          if (expected === 'waiting') seen.waiting += 1;
        }
      },
    ),
  );
  if (seen.runs < ENOUGH) return;
  expect(seen.ended / seen.runs).toBeGreaterThan(0.3);
  expect(seen.waiting / seen.runs).toBeGreaterThan(0.1);
});
