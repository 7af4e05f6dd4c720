import assert from 'node:assert/strict';
import { createRandom } from '../../core/runtime/random.ts';
import { candidatePool } from '../../scheduler/strategy-candidates.ts';
import { MAX_ALTERNATIVES, type PlacedTask, type SchedulingStrategy } from '../../scheduler/strategy.ts';
import { StrategyWorld } from './strategy-world.ts';

/**
 * What the suite for authors of strategies needs; neutral of test runners. `test(name, body)` registers one test (`test` of vitest,
 * node:test, jest, mocha fit). Failures are thrown by `node:assert`.
 */
export interface StrategySuiteOptions {
  readonly test: (name: string, body: () => Promise<void>) => void;
  /** A new one without history each time. */
  readonly create: () => SchedulingStrategy;
  /** What it is meant to do beside what every strategy must. */
  readonly expected?: {
    /** Equal tasks over equal idle agents: each gets at least half of an equal share. @default false */
    readonly spreads?: boolean;
    /** It may answer `undefined`, "wait", although there are candidates. @default false */
    readonly waits?: boolean;
  };
}

const DECISIONS = 200;
/** Reads of one candidate for one decision that are still taken for one look at it. */
const READS = 50;

const ASKED: PlacedTask = Object.freeze({
  id: 'asked',
  type: 'type-0',
  queue: 'type-0',
  priority: 2,
  weight: 1,
  capabilities: [],
  attempt: 1,
  prefer: [],
});

/** What the scheduler and its users rely on in a strategy. Pass it your own: `strategySuite({ test, create: () => mine() })`. */
export function strategySuite(options: StrategySuiteOptions): void {
  const run = (name: string, body: (strategy: SchedulingStrategy) => void): void =>
    options.test(name, async () => body(options.create()));
  const { spreads = false, waits = false } = options.expected ?? {};

  run('strategy: has a name and a select method', (strategy) => {
    assert.equal(typeof strategy.name, 'string');
    assert.ok(strategy.name.length > 0, 'the name is empty');
    assert.equal(typeof strategy.select, 'function');
    assert.equal(
      strategy.snapshot === undefined,
      strategy.restore === undefined,
      'snapshot and restore come together',
    );
  });

  for (const how of ['select', 'selectFrom'] as const) {
    run(`strategy: ${how} names a candidate at once, whatever the pool and without history`, (strategy) => {
      for (const size of [1, 2, 7, 100]) {
        const world = new StrategyWorld(`${how}/${size}`, size);
        for (let i = 0; i < 50; i++) {
          const chosen = world.ask(strategy, world.task(), how);
          assert.ok(waits || chosen !== undefined, `${strategy.name} waits although there are candidates`);
        }
      }
    });
  }

  run('strategy: the same seed and the same history give the same choices', (strategy) => {
    assert.deepEqual(choices(strategy, 'same'), choices(options.create(), 'same'));
  });

  run('strategy: takes outcomes of types and agents that it never saw', (strategy) => {
    const world = new StrategyWorld('outcomes', 3);
    for (const [ok, durationMs] of [
      [true, 0],
      [false, 1e9],
      [true, 0.5],
    ] as const) {
      strategy.observe?.({ taskId: 'unknown', type: '__proto__', agentId: 'a stranger', ok, durationMs });
    }
    for (let i = 0; i < DECISIONS; i++) world.step(strategy);
  });

  run('strategy: its state is plain JSON, and a restored one chooses alike', (strategy) => {
    if (strategy.snapshot === undefined) return;
    const world = new StrategyWorld('restore', 6);
    for (let i = 0; i < DECISIONS; i++) world.step(strategy);
    const state: unknown = strategy.snapshot();
    const copy: unknown = JSON.parse(JSON.stringify(state));
    assert.deepEqual(copy, state, 'the state changes on its way through JSON');
    const restored = options.create();
    restored.restore?.(copy);
    assert.deepEqual(choices(restored, 'after'), choices(strategy, 'after'));
  });

  run('strategy: a restored state may speak of agents that are gone', (strategy) => {
    if (strategy.snapshot === undefined) return;
    const crowd = new StrategyWorld('crowd', 40);
    for (let i = 0; i < DECISIONS; i++) crowd.step(strategy);
    const restored = options.create();
    restored.restore?.(strategy.snapshot());
    const few = new StrategyWorld('few', 2);
    for (let i = 0; i < DECISIONS; i++) few.step(restored);
  });

  run('strategy: its state stays bounded under ever new types', (strategy) => {
    const world = new StrategyWorld('bounded', 5, true);
    let types = 0;
    const bytesAt = (end: number): number => {
      while (types < end) {
        const type = `type-${types++}`;
        const chosen = world.ask(strategy, { ...world.task(type), group: type }) ?? 'agent-0';
        strategy.observe?.({ taskId: type, type, agentId: chosen, ok: true, durationMs: 1 });
      }
      return JSON.stringify(strategy.snapshot?.() ?? null).length;
    };
    const [some, more] = [bytesAt(2_000), bytesAt(4_000)];
    assert.ok(
      more <= some * 1.2 + 1_000,
      `the state grew from ${some} to ${more} bytes between 2,000 and 4,000 types: forget the longest unused`,
    );
  });

  run('strategy: looks at each candidate a bounded number of times', (strategy) => {
    const world = new StrategyWorld('reads', 200, true);
    for (let i = 0; i < 20; i++) {
      world.reads = 0;
      world.ask(strategy, world.task(), 'select');
      assert.ok(
        world.reads <= READS * 200,
        `one decision among 200 candidates read them ${world.reads} times`,
      );
    }
  });

  run('strategy: explains itself with candidates, and changes nothing by it', (strategy) => {
    const { explain } = strategy;
    if (explain === undefined) return;
    const silent = choices(options.create(), 'explain');
    const talking = choices(strategy, 'explain', (world) => {
      const candidates = world.candidates();
      if (candidates.length === 0) return;
      const ids = candidates.map(({ id }) => id);
      const context = world.context(createRandom('explain'));
      const words = explain.call(strategy, ASKED, candidatePool(candidates), context);
      if (words === undefined) return;
      assert.ok(ids.includes(words.agent), `${words.agent} is no candidate`);
      assert.ok(words.reason.length > 0, 'the reason is empty');
      assert.ok(words.alternatives.length <= MAX_ALTERNATIVES, 'too many alternatives');
      assert.ok(words.alternatives.every((id) => ids.includes(id) && id !== words.agent));
    });
    assert.deepEqual(talking, silent);
  });

  run('strategy: uses the room there is', (strategy) => {
    const world = new StrategyWorld('room', 4, true);
    const counts = new Map<string, number>();
    for (let i = 0; i < DECISIONS; i++) {
      const chosen = world.ask(strategy, { ...world.task('equal'), group: undefined, prefer: [] });
      if (chosen === undefined) continue;
      counts.set(chosen, (counts.get(chosen) ?? 0) + 1);
      const agent = world.agents.find(({ id }) => id === chosen);
      if (agent !== undefined) agent.running += 1;
    }
    assert.ok(waits || [...counts.values()].reduce((sum, count) => sum + count, 0) === DECISIONS);
    if (!spreads) return;
    const least = Math.min(...world.agents.map(({ id }) => counts.get(id) ?? 0));
    assert.ok(least >= DECISIONS / 8, `shares of ${DECISIONS} equal tasks: ${JSON.stringify([...counts])}`);
  });
}

/** The choices of a run in a world of its own; `between` happens before each. */
function choices(
  strategy: SchedulingStrategy,
  seed: string,
  between?: (world: StrategyWorld) => void,
): readonly (string | undefined)[] {
  const world = new StrategyWorld(seed, 6);
  return Array.from({ length: DECISIONS }, () => {
    between?.(world);
    return world.step(strategy);
  });
}
