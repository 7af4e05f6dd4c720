import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import type { DeadlockError } from '../../src/core/deadlock-error.ts';
import { EventBus } from '../../src/core/event-bus.ts';
import { isCoordinationError } from '../../src/core/errors.ts';
import type { Lease, ResourceRequest } from '../../src/core/lock-types.ts';
import type { CycleEdge, WaitSnapshot } from '../../src/core/ports/locks.ts';
import type { Requirement, WaitSource } from '../../src/core/waits.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import { DeclaredWaits } from '../../src/resources/declared-waits.ts';
import { cycleThrough, findDeadlocks, VictimTrial } from '../../src/resources/find-deadlock.ts';
import { findStuck, type StuckNode } from '../../src/resources/reduce.ts';
import { compareVictims, type VictimCandidate } from '../../src/resources/victim.ts';
import { WaitForGraph } from '../../src/resources/wait-for-graph.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';
import { canFinish } from '../support/locks/brute-force.ts';
import { createDesk, type LockDesk } from '../support/locks/lock-desk.ts';
import { remoteLocks } from '../support/locks/remote-locks.ts';
import { graphOf } from '../support/locks/snapshot-graph.ts';
import { type ModelFacts, WaitGraphModel } from '../support/wait-graph-model.ts';

/** Runs from which on it is checked that the hard cases were reached; a replay of a few needn't reach them. */
const ENOUGH = 500;
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

// ── the graph against a model

/** Waits that can be ended and know who is waited for; others that can be ended; and waits for a slot, which never are. */
const KINDS = [
  { by: 'lock', endable: true, knowsWho: true },
  { by: 'child', endable: true, knowsWho: false },
  { by: 'slot', endable: false, knowsWho: true },
  { by: 'declared', endable: true, knowsWho: false },
  { by: 'declared', endable: false, knowsWho: false },
] as const;
/** The kinds of {@link DeclaredWaits}: with a way to end them, and without. */
const DECLARED = [3, 4] as const;

const model = { runs: 0, deadlocked: 0, several: 0, again: 0 };

interface Reported {
  readonly victim: string;
  readonly cycle: readonly CycleEdge[];
}

/** The graph, over sources that read what the model knows. */
class RealGraph {
  readonly truth: WaitGraphModel;
  readonly graph: WaitForGraph;
  readonly declared = new Map<string, { readonly kind: number; readonly end: Disposable }>();
  /** Since the last look. */
  victims: string[] = [];
  readonly resolved: string[] = [];
  #reported: Reported | undefined;
  detected = 0;

  constructor(truth: WaitGraphModel, facts: ReadonlyMap<string, ModelFacts>) {
    this.truth = truth;
    const clock = createTestClock();
    const bus = new EventBus({ clock });
    this.graph = new WaitForGraph({ runtime: createRuntime({ clock }), events: bus });
    bus.on('deadlock:detected', (reported) => {
      this.detected += 1;
      this.#reported = reported;
    });
    bus.on('deadlock:resolved', ({ victim }) => void this.resolved.push(victim));
    const ways = DECLARED.map(
      (kind) =>
        new DeclaredWaits(
          KINDS[kind].endable,
          (id) => id,
          () => {},
        ),
    );
    for (const [kind, { endable, knowsWho }] of KINDS.slice(0, 3).entries()) {
      const { waits } = truth.kinds[kind] as (typeof truth.kinds)[number];
      const source: WaitSource = {
        abortable: endable,
        requirements: (node) => waits.get(node) ?? [],
        waiting: () => waits.keys(),
        facts: (node) => (kind === 0 ? facts.get(node) : undefined),
        abort: (node, error) => this.#abort(kind, node, error),
      };
      const blocks = (node: string): boolean =>
        [...waits.values()].flat().some(({ blockers }) => blockers.some((blocker) => blocker.node === node));
      this.graph.addSource(knowsWho ? { ...source, blocks, isWaiting: (node) => waits.has(node) } : source);
    }
    for (const way of ways) this.graph.addSource(way);
    this.declare = (at, waiter, holder): void => {
      const kind = DECLARED[at] as number;
      const abort = (error: DeadlockError): void => void this.#abort(kind, waiter, error);
      const way = ways[at] as DeclaredWaits;
      const end = way.add({ waiter, holder, what: `d${holder}`, abort: at === 0 ? abort : undefined });
      this.declared.set(`${kind} ${waiter}`, { kind, end });
    };
  }

  readonly declare: (at: number, waiter: string, holder: string) => void;

  /** D1, at the moment when a wait is ended: its node is stuck, and the cycle that is told is there. */
  #abort(kind: number, node: string, error: DeadlockError): boolean {
    const { truth } = this;
    const waits = truth.waits;
    if (!this.victims.includes(node) || this.#reported !== undefined) {
      this.victims.push(node);
      const stuck = truth.stuck(waits);
      const { victim, cycle } = this.#reported as Reported;
      this.#reported = undefined;
      expect(victim).toBe(node);
      expect(stuck.has(node)).toBe(true);
      expect(error.cycle).toEqual(cycle);
      for (const [i, { waiter, holder }] of cycle.entries()) {
        expect(truth.behind(waiter, waits, stuck).has(holder)).toBe(true);
        expect(cycle[(i + 1) % cycle.length]?.waiter).toBe(holder);
      }
      expect(cycle[0]?.waiter).toBe(node);
      truth.begin(node, cycle);
    }
    const ended = truth.kinds[kind]?.waits.has(node) === true;
    this.ended(kind, node);
    return ended;
  }

  ended(kind: number, node: string): void {
    this.truth.end(kind, node);
    this.declared.get(`${kind} ${node}`)?.end[Symbol.dispose]();
    this.declared.delete(`${kind} ${node}`);
    if (this.truth.isWaiting(node)) return;
    this.graph.left(node);
    this.truth.left(node);
  }
}

type GraphCommand = fc.Command<WaitGraphModel, RealGraph>;

/** Lets the graph look and compares its victims. @returns false when it left what it may leave */
function look(truth: WaitGraphModel, real: RealGraph, root: string, mayRest: boolean): boolean {
  const isNode = root !== 'all';
  const expected = truth.predict(isNode ? [root] : truth.waits.keys(), isNode ? root : undefined);
  real.victims = [];
  if (isNode) real.graph.entered(root);
  else real.graph.sweep();
  const victims = real.victims.splice(0);
  if (mayRest && victims.length === 0 && expected.length > 0) return false;
  // D2, D3: those, and no others; the order inside a round isn't promised.
  expect(expected.map((round) => victims.splice(0, round.length).toSorted())).toEqual(
    expected.map((round) => round.toSorted()),
  );
  expect(victims).toEqual([]);
  return true;
}

/** @param run answers where the graph is to look: at a node that came, or at all */
function step(
  name: string,
  run: (truth: WaitGraphModel, real: RealGraph) => string | 'all' | undefined,
): GraphCommand {
  return {
    check: () => true,
    run: (truth, real) => {
      const root = run(truth, real);
      if (root !== undefined) {
        // Who blocks nobody closes no cycle: an older one behind it, whose survivor has gone, may be left to the next sweep.
        const mayRest = root !== 'all' && !truth.isAwaited(root);
        if (!look(truth, real, root, mayRest)) look(truth, real, 'all', false);
      }
      expect(real.resolved).toEqual(truth.resolved);
      for (const node of NODES) expect(real.graph.defeats(node)).toBe(truth.defeats(node));
    },
    toString: () => name,
  };
}

const nodeOf = fc.constantFrom(...NODES.slice(0, 6));

const waitCommand = fc
  .tuple(nodeOf, fc.constantFrom(0, 0, 0, 1, 1, 2), fc.array(requirement, { minLength: 1, maxLength: 2 }))
  .map(([node, kind, needs]) =>
    step(`${node} waits ${KINDS[kind]?.by} ${JSON.stringify(needs)}`, (truth) => {
      const { waits } = truth.kinds[kind] as (typeof truth.kinds)[number];
      if (waits.has(node)) return undefined;
      const { by } = KINDS[kind] as (typeof KINDS)[number];
      waits.set(
        node,
        needs.map((need, i) => ({ ...need, by, what: `${by} ${i}` })),
      );
      return node;
    }),
  );
const declareCommand = fc.tuple(nodeOf, fc.constantFrom(0, 1), nodeOf).map(([waiter, at, holder]) =>
  step(`${waiter} declares a wait for ${holder}${at === 0 ? '' : ', never to be ended'}`, (truth, real) => {
    const kind = DECLARED[at] as number;
    const { waits } = truth.kinds[kind] as (typeof truth.kinds)[number];
    if (waits.has(waiter)) return undefined;
    const what = `d${holder}`;
    waits.set(waiter, [{ by: 'declared', what, blockers: [{ node: holder, frees: 1 }], needs: 1 }]);
    real.declare(at, waiter, holder);
    return waiter;
  }),
);
const endCommand = fc.tuple(nodeOf, fc.nat(KINDS.length - 1)).map(([node, kind]) =>
  step(`${node} has what it waited for by ${kind}`, (truth, real) => {
    if (truth.kinds[kind]?.waits.has(node) === true) real.ended(kind, node);
    return undefined;
  }),
);
const releaseCommand = nodeOf.map((node) =>
  step(`${node} gives back all it has`, (truth, real) => {
    if (truth.isWaiting(node)) return undefined;
    for (const [kind, { waits }] of truth.kinds.entries()) {
      for (const [waiter, needs] of [...waits]) {
        const left = needs.flatMap((need) => without(need, node));
        if (left.length === 0) real.ended(kind, waiter);
        else if (kind < 3) waits.set(waiter, left);
      }
    }
    truth.finished(node);
    real.graph.finished(node);
    return undefined;
  }),
);
/** Fewer ways out than there were: whoever made it so lets the graph look at all. */
const shrinkCommand = fc.tuple(nodeOf, fc.nat(2), fc.nat(3)).map(([node, kind, at]) =>
  step(`${node} has one way out less`, (truth) => {
    const { waits } = truth.kinds[kind] as (typeof truth.kinds)[number];
    const [first, ...others] = waits.get(node) ?? [];
    if (first === undefined || first.blockers.length < 2) return undefined;
    const blockers = first.blockers.filter((_, i) => i !== at % first.blockers.length);
    waits.set(node, [{ ...first, blockers }, ...others]);
    return 'all';
  }),
);
const sweepCommand = fc.constant(step('sweep', () => 'all'));

/** What is left of a need when a node has given back what it has. */
function without(need: Requirement, gone: string): readonly Requirement[] {
  const freed = need.blockers.filter(({ node }) => node === gone).reduce((sum, { frees }) => sum + frees, 0);
  const blockers = need.blockers.filter(({ node }) => node !== gone);
  return need.needs <= freed || blockers.length === 0
    ? []
    : [{ ...need, blockers, needs: need.needs - freed }];
}

const factsOf = fc
  .array(
    fc.record({
      priority: fc.integer({ min: 0, max: 2 }),
      since: fc.integer({ min: 0, max: 2 }),
      locks: fc.integer({ min: 0, max: 1 }),
      defeats: fc.constantFrom(0, 0, 0, 0, 1, 4, 5),
    }),
    { minLength: NODES.length, maxLength: NODES.length },
  )
  .map((all) => new Map(NODES.map((node, i) => [node, all[i] as ModelFacts])));

describe('the graph against a model', () => {
  test('D1, D2, D3, D5: whose waits are ended, in which rounds, by which cycles, and when a deadlock is over', () => {
    const commands = fc.commands(
      [
        ...Array<typeof waitCommand>(5).fill(waitCommand),
        declareCommand,
        declareCommand,
        endCommand,
        endCommand,
        releaseCommand,
        shrinkCommand,
        sweepCommand,
      ],
      { size: '+1', maxCommands: 25 },
    );
    fc.assert(
      fc.property(factsOf, commands, (facts, steps) => {
        const truth = new WaitGraphModel(
          KINDS.map(({ endable }) => endable),
          facts,
        );
        const real = new RealGraph(truth, facts);
        fc.modelRun(() => ({ model: truth, real }), steps);
        // D4: with every wait over, every deadlock is.
        for (const [kind, { waits }] of truth.kinds.entries())
          for (const node of [...waits.keys()]) real.ended(kind, node);
        expect(real.resolved).toEqual(truth.resolved);
        expect([real.resolved.length, real.graph.hasOpen]).toEqual([real.detected, false]);
        model.runs += 1;
        if (real.detected > 0) model.deadlocked += 1;
        if (real.detected > 1) model.several += 1;
        if (NODES.some((node) => truth.defeats(node) > 1)) model.again += 1;
      }),
    );
  });

  afterAll(() => {
    console.info('wait graph model', model);
    if (model.runs < ENOUGH) return;
    expect(model.deadlocked / model.runs).toBeGreaterThan(0.3);
    expect(model.several / model.runs).toBeGreaterThan(0.1);
    expect(model.again / model.runs).toBeGreaterThan(0.05);
  });
});

// ── interleavings

const world = { runs: 0, deadlocked: 0, remoteDeadlocks: 0, defeated: 0 };

const wish = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      resource: fc.constantFrom('x', 'y', 'z'),
      // A reader waits for a writer that came before it, though it holds nothing yet.
      mode: fc.constantFrom('exclusive' as const, 'exclusive' as const, 'shared' as const),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ semaphore: 'pool', of: 2, units: 1 }) },
);
const wishes = fc.array(
  fc.uniqueArray(wish, {
    minLength: 2,
    maxLength: 3,
    selector: (one) => ('resource' in one ? one.resource : one.semaphore),
  }),
  { minLength: 2, maxLength: 4 },
);

/** Agents that take what they want one after the other; a victim begins again when the survivor has finished, as a task's retry does. */
class Takers {
  readonly #desk: LockDesk;
  readonly #pause: (label: string) => Promise<unknown>;
  readonly #finished = new Map<string, Promise<void>>();

  constructor(desk: LockDesk, pause: (label: string) => Promise<unknown>) {
    this.#desk = desk;
    this.#pause = pause;
  }

  async take(id: string, wanted: readonly ResourceRequest[]): Promise<void> {
    for (let defeats = 0; ; defeats++) {
      // D5
      expect(defeats).toBeLessThanOrEqual(5);
      const attempt = this.#attempt(id, wanted);
      this.#finished.set(
        id,
        attempt.then(() => undefined),
      );
      const survivor = await attempt;
      if (survivor === undefined) return;
      await this.#finished.get(survivor);
      await this.#pause(`${id} tries again`);
    }
  }

  /** Resolves to the survivor of a deadlock that it was the victim of. */
  async #attempt(id: string, wanted: readonly ResourceRequest[]): Promise<string | undefined> {
    const leases: Lease[] = [];
    try {
      for (const one of wanted) {
        leases.push(await this.#desk.locks.acquire(one, { owner: id }));
        await this.#pause(`${id} works`);
      }
      return undefined;
    } catch (error) {
      if (!isCoordinationError(error, 'DEADLOCK')) throw error;
      return (error as DeadlockError).survivor;
    } finally {
      for (const lease of leases.toReversed()) {
        await lease.release();
        await this.#pause(`${id} gave one back`);
      }
    }
  }
}

describe('the graph under interleavings', () => {
  test('D1, D2, D4, D5: however the steps of several waiters fall, nobody is stuck after any, only the stuck lose, all come through', async () => {
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), wishes, async (s, wanted) => {
        const desk = createDesk();
        desk.bus.on('deadlock:detected', ({ victim }) => {
          world.defeated += 1;
          expect(canFinish(graphOf(desk.store.snapshot())).has(victim)).toBe(false);
        });
        const takers = new Takers(desk, (label) => s.schedule(Promise.resolve(), label));
        const all = Promise.all(wanted.map((one, i) => takers.take(NODES[i] as string, one)));
        for (let quiet = 0; quiet < 2; quiet++) {
          await flush();
          if (s.count() > 0) {
            quiet = 0;
            await s.waitOne();
          }
          const graph = graphOf(desk.store.snapshot());
          const able = canFinish(graph);
          for (const node of graph.keys()) expect(able.has(node), `${node} can finish`).toBe(true);
        }
        expect(desk.store.live.counts()).toMatchObject({ held: 0, waiting: 0 });
        await all;
        world.runs += 1;
        if (desk.named('deadlock:detected').length > 0) world.deadlocked += 1;
        expect(desk.named('deadlock:resolved')).toHaveLength(desk.named('deadlock:detected').length);
      }),
    );
  });

  test('D1, D2, D4, D5: the same over a store whose calls and answers travel in any order', async () => {
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), wishes, async (s, wanted) => {
        const desk: LockDesk = createDesk({ resourceTimeout: 3_600_000, leaseMs: 3_600_000 }, (store) =>
          remoteLocks(store, async (label, call) => {
            await s.schedule(Promise.resolve(), `${label} sent`);
            const before = label === 'abort' ? store.snapshot() : undefined;
            const answer = call();
            if (before !== undefined) checkAborted(before, store.snapshot());
            await s.schedule(Promise.resolve(), `${label} answered`);
            return answer;
          }),
        );
        const takers = new Takers(desk, (label) => s.schedule(Promise.resolve(), label));
        const all = Promise.all(wanted.map((one, i) => takers.take(NODES[i] as string, one)));
        let open = true;
        const over = (): void => void (open = false);
        all.then(over, over);
        for (let rounds = 0; open; rounds++) {
          await s.waitIdle();
          // D2: a look each half second, each of which breaks what it sees.
          expect(rounds).toBeLessThan(200);
          desk.clock.tick(250);
          await desk.clock.settle();
        }
        await all;
        if (desk.named('deadlock:detected').length > 0) world.remoteDeadlocks += 1;
        await s.waitIdle();
        expect(desk.store.live.counts()).toMatchObject({ held: 0, waiting: 0 });
      }),
    );
  });

  afterAll(() => {
    console.info('wait graph interleavings', world);
    if (world.runs < ENOUGH) return;
    expect(world.deadlocked / world.runs).toBeGreaterThan(0.2);
    expect(world.remoteDeadlocks / world.runs).toBeGreaterThan(0.1);
  });
});

/** Lets all go on that waits for nothing but its turn. */
async function flush(): Promise<void> {
  for (let i = 0; i < 12; i++) await Promise.resolve();
}

/** D1, in the store's order: a wait that was ended there was one of a stuck node. */
function checkAborted(before: WaitSnapshot, after: WaitSnapshot): void {
  const waitsOf = ({ resources }: WaitSnapshot): Map<string, string> =>
    new Map(resources.flatMap(({ queue }) => queue.map(({ wait, owner }) => [wait.id, owner])));
  const heldIn = new Set(after.resources.flatMap(({ held }) => held.map(({ grant }) => grant.id)));
  const left = waitsOf(after);
  const able = canFinish(graphOf(before));
  for (const [id, owner] of waitsOf(before))
    if (!left.has(id) && !heldIn.has(id)) expect(able.has(owner)).toBe(false);
}

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
