import fc from 'fast-check';
import { expect, test } from 'vitest';
import { LOAD_STEPS } from '../../src/scheduler/agent-index.ts';
import { AgentPool, type Requirements } from '../../src/scheduler/candidate-pool.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { builtInStrategies } from '../../src/scheduler/strategies/built-in.ts';
import { learning } from '../../src/scheduler/strategies/learning.ts';
import type { PlacedTask } from '../../src/scheduler/strategy.ts';
import { TaskHistory } from '../../src/scheduler/task-history.ts';

interface ModelAgent {
  readonly id: string;
  readonly capabilities: readonly string[];
  readonly types: readonly string[] | undefined;
  slots: number;
  running: number;
  queued: number;
  draining: boolean;
}

/** The pool as a list that is walked for every question. */
class ModelPool {
  agents: ModelAgent[] = [];

  find(id: string): ModelAgent | undefined {
    return this.agents.find((agent) => agent.id === id);
  }

  eligible(task: Requirements): ModelAgent[] {
    return this.agents.filter(
      (agent) =>
        !agent.draining &&
        (task.full === true || free(agent) > 0) &&
        task.capabilities.every((name) => agent.capabilities.includes(name)) &&
        (task.type === undefined || agent.types === undefined || agent.types.includes(task.type)) &&
        task.exclude?.includes(agent.id) !== true &&
        (task.only === undefined || task.only === agent.id) &&
        (task.maxLoadRatio === undefined || !(load(agent) > task.maxLoadRatio)),
    );
  }

  /** `list` from the one after `id` on, in a circle. */
  after(list: ModelAgent[], id: string | undefined): ModelAgent[] {
    const at = this.agents.findIndex((agent) => agent.id === id);
    const later = list.filter((agent) => this.agents.indexOf(agent) > at);
    return [...later, ...list.filter((agent) => !later.includes(agent))];
  }

  leastLoaded(list: ModelAgent[], after: string | undefined): string | undefined {
    let best: ModelAgent | undefined;
    for (const agent of this.after(list, after)) {
      if (best === undefined || level(agent) < level(best)) best = agent;
    }
    return best?.id;
  }
}

const free = (agent: ModelAgent): number => Math.max(0, agent.slots - agent.running - agent.queued);
const load = (agent: ModelAgent): number => (agent.running + agent.queued) / agent.slots;
const level = (agent: ModelAgent): number =>
  Math.min(2 * LOAD_STEPS - 1, Math.floor(load(agent) * LOAD_STEPS));

const names = fc.uniqueArray(fc.constantFrom('x', 'y', 'z'), { maxLength: 2 });
const someId = fc.nat({ max: 50 }).map((n) => `a${n}`);
const requirements = fc.record({
  capabilities: names,
  type: fc.constantFrom(undefined, undefined, 't1', 't2'),
  exclude: fc.option(fc.array(someId, { maxLength: 3 }), { nil: undefined, freq: 3 }),
  only: fc.option(someId, { nil: undefined, freq: 9 }),
  maxLoadRatio: fc.constantFrom(undefined, undefined, undefined, 0, 0.3, 0.5),
  full: fc.constantFrom(false, false, true),
});
const command = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('add' as const),
      id: someId,
      capabilities: names,
      types: fc.constantFrom(undefined, undefined, undefined, ['t1']),
      slots: fc.constantFrom(1, 2, 3, 8, 16, Number.POSITIVE_INFINITY),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('remove', 'drain', 'undrain'), id: someId }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('resize' as const),
      id: someId,
      slots: fc.integer({ min: 1, max: 5 }),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constantFrom('started', 'started', 'ended', 'queued', 'unqueued'),
      id: someId,
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('ask' as const),
      task: requirements,
      after: fc.option(someId, { nil: undefined }),
    }),
  },
);

function apply(
  pool: AgentPool,
  model: ModelPool,
  step: Exclude<FromArbitrary<typeof command>, { kind: 'ask' }>,
): void {
  const agent = model.find(step.id);
  switch (step.kind) {
    case 'add':
      if (agent !== undefined) return expect(() => pool.add(step)).toThrow(/already/);
      pool.add(step);
      model.agents.push({ ...step, running: 0, queued: 0, draining: false });
      return;
    case 'remove':
      expect(pool.remove(step.id)).toBe(agent !== undefined);
      model.agents = model.agents.filter((each) => each !== agent);
      return;
    case 'drain':
    case 'undrain':
      pool.drain(step.id, step.kind === 'drain');
      if (agent !== undefined) agent.draining = step.kind === 'drain';
      return;
    case 'resize':
      pool.update(step.id, { slots: step.slots });
      if (agent !== undefined) agent.slots = step.slots;
      return;
    case 'started':
      pool.started(step.id);
      if (agent !== undefined) agent.running += 1;
      return;
    case 'ended':
      pool.ended(step.id);
      if (agent !== undefined) agent.running = Math.max(0, agent.running - 1);
      return;
    default: {
      const change = step.kind === 'queued' ? 1 : -1;
      pool.queued(step.id, change);
      if (agent !== undefined) agent.queued = Math.max(0, agent.queued + change);
    }
  }
}

type FromArbitrary<T> = T extends fc.Arbitrary<infer U> ? U : never;

function checkAnswers(
  pool: AgentPool,
  model: ModelPool,
  task: Requirements,
  after: string | undefined,
): void {
  const eligible = pool.eligible(task);
  const expected = model.eligible(task);
  const ids = expected.map((agent) => agent.id);
  expect([...eligible].map((candidate) => candidate.id)).toEqual(ids);
  expect([eligible.size, eligible.isEmpty]).toEqual([ids.length, ids.length === 0]);
  expect(eligible.next(after)?.id).toBe(model.after(expected, after)[0]?.id);
  expect(eligible.leastLoaded(after)?.id).toBe(model.leastLoaded(expected, after));
  if (after !== undefined) expect(eligible.get(after)?.id).toBe(ids.includes(after) ? after : undefined);
}

function keyOf(offer: {
  readonly capabilities: readonly string[];
  readonly types?: readonly string[] | undefined;
}): string {
  return `${offer.capabilities.join()}/${offer.types?.join() ?? 'all'}`;
}

function checkSlots(pool: AgentPool, model: ModelPool): void {
  const open = model.agents.filter((agent) => !agent.draining);
  expect(pool.freeSlots()).toBe(open.reduce((sum, agent) => sum + free(agent), 0));
  const offers = new Map<string, number>();
  for (const agent of open) {
    const key = keyOf({ capabilities: agent.capabilities.toSorted(), types: agent.types });
    offers.set(key, Math.min((offers.get(key) ?? 0) + free(agent), 2 ** 31 - 1));
  }
  const found = pool.offers().map((offer) => [keyOf(offer), offer.slots] as const);
  expect(new Map(found)).toEqual(new Map([...offers].filter(([, slots]) => slots > 0)));
  expect(found.length).toBe(new Set(found.map(([key]) => key)).size);
}

test('the pool answers like a list that is walked, whatever happened to it', () => {
  fc.assert(
    fc.property(
      fc.array(command, { maxLength: 60 }),
      fc.nat({ max: 70 }),
      fc.boolean(),
      (steps, crowd, going) => {
        const pool = new AgentPool();
        const model = new ModelPool();
        // A crowd that comes, and goes or stays: seats are given anew, rows of bits grow.
        for (let i = 0; i < crowd; i++) {
          if (i % 31 === 30) checkAnswers(pool, model, { capabilities: ['x'] }, `c${i - 9}`);
          if (going && i % 5 > 0) apply(pool, model, { kind: 'remove', id: `c${i - 3}` });
          apply(pool, model, {
            kind: 'add',
            id: `c${i}`,
            capabilities: i % 2 === 0 ? ['x'] : [],
            types: undefined,
            slots: 1 + (i % 3),
          });
        }
        for (const step of steps) {
          if (step.kind === 'ask') {
            checkAnswers(pool, model, step.task, step.after);
            checkSlots(pool, model);
          } else apply(pool, model, step);
        }
        checkAnswers(pool, model, { capabilities: [] }, 'a1');
        checkSlots(pool, model);
      },
    ),
  );
});

test('history agrees with the runs it was told of, and is never larger than its size', () => {
  const run = fc.record({
    type: fc.constantFrom('a', 'b', 'c'),
    agent: fc.constantFrom('1', '2', '3', '4'),
    ok: fc.boolean(),
    ms: fc.integer({ min: 0, max: 1_000 }),
  });
  fc.assert(
    fc.property(fc.array(run, { maxLength: 60 }), fc.integer({ min: 1, max: 12 }), (runs, size) => {
      const history = new TaskHistory(size);
      let pairs: { type: string; agent: string; runs: { ok: boolean; ms: number }[] }[] = [];
      for (const { type, agent, ok, ms } of runs) {
        history.record(type, agent, ok, ms);
        const known = pairs.find((pair) => pair.type === type && pair.agent === agent) ?? {
          type,
          agent,
          runs: [],
        };
        known.runs.push({ ok, ms });
        pairs = [...pairs.filter((pair) => pair !== known), known].slice(-size);
      }
      expect(history.size).toBe(pairs.length);
      for (const { type, agent, runs: seen } of pairs) {
        const weighed = (value: (run: { ok: boolean; ms: number }) => number, start: number): number =>
          seen.reduce((mean, one, i) => mean + (value(one) - mean) * Math.max(1 / (i + 1), 0.1), start);
        const found = history.of(type, agent);
        expect(found.runs).toBe(seen.length);
        expect(found.meanDurationMs).toBeCloseTo(
          weighed(({ ms }) => ms, 0),
          6,
        );
        expect(found.successRatio).toBeCloseTo(
          weighed(({ ok }) => (ok ? 1 : 0), 1),
          6,
        );
        expect(history.types.has(type)).toBe(true);
      }
      expect(history.types.size).toBe(new Set(pairs.map(({ type }) => type)).size);
    }),
  );
});

test('every built-in strategy names an eligible agent, whenever there is one', () => {
  const strategies = builtInStrategies();
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: strategies.length - 1 }),
      fc.array(fc.tuple(fc.nat({ max: 9 }), names, fc.boolean(), fc.nat({ max: 99 })), {
        minLength: 1,
        maxLength: 30,
      }),
      (which, steps) => {
        const strategy = builtInStrategies()[which];
        const history = new TaskHistory();
        const pool = new AgentPool((type, agent) => history.of(type, agent));
        for (let i = 0; i < 20; i++) {
          pool.add({
            id: `a${i}`,
            capabilities: i % 3 === 0 ? ['x', 'y'] : i % 3 === 1 ? ['z'] : [],
            slots: 1 + (i % 2),
          });
        }
        const random = createRandom('strategies');
        for (const [type, capabilities, ok, ms] of steps) {
          const task: PlacedTask = {
            id: 't',
            type: `t${type % 3}`,
            queue: 'q',
            priority: 1,
            weight: 1,
            capabilities,
            attempt: 1,
            prefer: [],
            group: type > 6 ? 'g' : undefined,
          };
          const eligible = pool.eligible(task);
          const ids = [...eligible].map(({ id }) => id);
          const chosen = strategy?.selectFrom?.(task, eligible, { now: 0, random, lastAgent: undefined }) as
            | string
            | undefined;
          if (ids.length === 0) expect(chosen).toBeUndefined();
          else expect(ids).toContain(chosen);
          if (chosen === undefined) continue;
          pool.started(chosen);
          if (!ok) continue;
          pool.ended(chosen);
          history.record(task.type, chosen, ms > 20, ms);
          strategy?.observe?.({ taskId: 't', type: task.type, agentId: chosen, ok: ms > 20, durationMs: ms });
        }
      },
    ),
  );
});

/** Shares of the best agent: in the last 1,000 of 3,000 tasks, and in the second half of 1,000 after the rates were swapped. */
function learn(seed: string, before: readonly number[], after: readonly number[]): readonly [number, number] {
  const world = createRandom(`${seed}/world`);
  const random = createRandom(seed);
  const pool = new AgentPool();
  before.forEach((_, i) => pool.add({ id: `${i}`, capabilities: [], slots: 4 }));
  const strategy = learning();
  const task: PlacedTask = {
    id: 't',
    type: 't',
    queue: 'q',
    priority: 1,
    weight: 1,
    capabilities: [],
    attempt: 1,
    prefer: [],
  };
  const run = (rates: readonly number[], tasks: number, counted: number): number => {
    const best = rates.indexOf(Math.max(...rates));
    let hits = 0;
    for (let i = 0; i < tasks; i++) {
      const agentId = strategy.selectFrom(task, pool.eligible(task), {
        now: i,
        random,
        lastAgent: undefined,
      }) as string;
      if (i >= tasks - counted && Number(agentId) === best) hits += 1;
      const ok = world.next() < (rates[Number(agentId)] as number);
      strategy.observe({ taskId: 't', type: 't', agentId, ok, durationMs: 5 + world.next() * 10 });
    }
    return hits / counted;
  };
  return [run(before, 3_000, 1_000), run(after, 1_000, 500)];
}

test.each([
  ['three agents, the order turned round', [0.5, 0.7, 0.95], [0.95, 0.7, 0.5]],
  ['three agents, the best becomes middling', [0.5, 0.7, 0.95], [0.95, 0.5, 0.7]],
  [
    'ten agents',
    [0.5, 0.5, 0.5, 0.7, 0.7, 0.7, 0.7, 0.5, 0.5, 0.95],
    [0.95, 0.5, 0.5, 0.7, 0.7, 0.7, 0.7, 0.5, 0.5, 0.5],
  ],
])('learning finds the best of %s, and again after a swap, with each of 25 seeds', (_name, before, after) => {
  for (let seed = 0; seed < 25; seed++) {
    const [found, again] = learn(`seed ${seed}`, before, after);
    expect(found, `seed ${seed}`).toBeGreaterThanOrEqual(0.8);
    expect(again, `seed ${seed} after the swap`).toBeGreaterThanOrEqual(0.8);
  }
});
