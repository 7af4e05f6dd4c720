import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ConflictRecord, Resolution } from '../../src/core/coordination-types.ts';
import { EventBus } from '../../src/core/event-bus.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import type { ConflictFacts } from '../../src/conflicts/conflict-facts.ts';
import { ConflictResolver } from '../../src/conflicts/conflict-resolver.ts';
import type { ConflictStrategy } from '../../src/conflicts/conflict-strategy.ts';
import { MergeStrategy } from '../../src/conflicts/strategies/merge-strategy.ts';
import { OptimisticVersionStrategy } from '../../src/conflicts/strategies/optimistic-version-strategy.ts';
import { PriorityResolutionStrategy } from '../../src/conflicts/strategies/priority-resolution-strategy.ts';
import { TimestampResolutionStrategy } from '../../src/conflicts/strategies/timestamp-resolution-strategy.ts';
import { VotingResolutionStrategy } from '../../src/conflicts/strategies/voting-resolution-strategy.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';

/** Runs from which on the share of hard cases is checked. */
const ENOUGH = 500;
const AGENTS = ['a', 'b', 'c', 'd', '__proto__'];
const partiesOf = fc.uniqueArray(fc.constantFrom(...AGENTS), { minLength: 2, maxLength: 5 });
const recordOf = (agents: readonly string[]): ConflictRecord => ({
  id: 'c1',
  kind: 'resource',
  subject: 'file',
  agents,
  at: 0,
  resolved: false,
});
const mapOf = <V>(value: fc.Arbitrary<V>): fc.Arbitrary<Map<string, V>> =>
  fc
    .array(fc.tuple(fc.constantFrom(...AGENTS, 'stranger'), value), { maxLength: 8 })
    .map((entries) => new Map(entries));
const maybe = <V>(value: fc.Arbitrary<V>): fc.Arbitrary<V | undefined> =>
  fc.option(value, { nil: undefined });
const factsOf: fc.Arbitrary<ConflictFacts> = fc.record({
  agentPriorities: maybe(mapOf(fc.integer({ min: -2, max: 2 }))),
  requestTimestamps: maybe(mapOf(fc.integer({ min: 0, max: 3 }).map((ms) => new Date(ms)))),
  votes: maybe(mapOf(fc.array(fc.constantFrom('v1', 'v2', 'v3', 'v4'), { maxLength: 4 }))),
  versions: maybe(mapOf(fc.integer({ min: 0, max: 3 }))),
  currentVersion: maybe(fc.integer({ min: 0, max: 3 })),
  contents: maybe(
    fc.record({
      base: fc.constant('x\ny\nz\n'),
      theirs: mapOf(fc.constantFrom('x\ny\nz\n', 'X\ny\nz\n', 'x\ny\nZ\n')),
    }),
  ),
});
const BUILT_IN: readonly ConflictStrategy[] = [
  new PriorityResolutionStrategy(),
  new TimestampResolutionStrategy(),
  new VotingResolutionStrategy(),
  new OptimisticVersionStrategy(),
  new MergeStrategy(),
];

/** The same facts without the stranger, and with every Map filled the other way round. */
function withoutStranger(facts: ConflictFacts): ConflictFacts {
  const turn = <V>(map: ReadonlyMap<string, V>): Map<string, V> =>
    new Map([...map].toReversed().filter(([id]) => id !== 'stranger'));
  const { contents, agentPriorities, requestTimestamps, votes, versions } = facts;
  return {
    ...facts,
    ...(agentPriorities && { agentPriorities: turn(agentPriorities) }),
    ...(requestTimestamps && { requestTimestamps: turn(requestTimestamps) }),
    ...(votes && { votes: turn(votes) }),
    ...(versions && { versions: turn(versions) }),
    ...(contents && { contents: { ...contents, theirs: turn(contents.theirs) } }),
  };
}

/** How an obvious reading of each rule scores an agent; `undefined`: can't win. */
const SCORES: Readonly<
  Record<string, (agent: string, facts: ConflictFacts, agents: readonly string[]) => number | undefined>
> = {
  priority: (agent, { agentPriorities }) => agentPriorities?.get(agent) ?? 0,
  timestamp: (agent, { requestTimestamps }) => {
    const at = requestTimestamps?.get(agent);
    return at === undefined ? undefined : -Number(at);
  },
  vote: (agent, { votes }, agents) => {
    const onlyFor = (voter: string): boolean =>
      agents.filter((other) => votes?.get(other)?.includes(voter)).join() === agent;
    return [...new Set(votes?.get(agent))].filter(onlyFor).length;
  },
  'optimistic-version': (agent, { versions, currentVersion }) => {
    const version = versions?.get(agent);
    return currentVersion === undefined || version === currentVersion ? version : undefined;
  },
  merge: () => 0,
};

describe('Conflict strategies', () => {
  test.each(BUILT_IN.map((strategy) => [strategy.name, strategy] as const))(
    '%s is total and deterministic: a winner of the conflict by its rule and its tie rule, or an escalation; strangers change nothing',
    (name, strategy) => {
      let decided = 0;
      let runs = 0;
      fc.assert(
        fc.property(partiesOf, factsOf, (agents, facts) => {
          runs += 1;
          const decision = strategy.resolve(recordOf(agents), facts);
          expect(strategy.resolve(recordOf(agents), withoutStranger(facts))).toEqual(decision);
          if (decision === undefined || 'escalate' in (decision as object)) return;
          decided += 1;
          const { winner } = decision as { winner: string };
          expect(agents).toContain(winner);
          const scoreOf = (agent: string): number => SCORES[name]?.(agent, facts, agents) ?? -Infinity;
          const askedAt = (agent: string): number =>
            name === 'timestamp' ? 0 : Number(facts.requestTimestamps?.get(agent) ?? Infinity);
          for (const [i, other] of agents.entries()) {
            expect(scoreOf(other)).toBeLessThanOrEqual(scoreOf(winner));
            if (other === winner || scoreOf(other) < scoreOf(winner)) continue;
            expect(askedAt(winner)).toBeLessThanOrEqual(askedAt(other));
            if (askedAt(winner) === askedAt(other)) expect(agents.indexOf(winner)).toBeLessThan(i);
          }
        }),
      );
      if (runs < ENOUGH) return;
      expect(decided / runs).toBeGreaterThan(0.05);
      expect(decided).toBeLessThan(runs);
    },
  );

  test('merge of several agents with disjoint edits keeps every edit, in whatever order they were reported', () => {
    fc.assert(
      fc.property(fc.shuffledSubarray(AGENTS, { minLength: 2 }), fc.nat(3), (agents, gap) => {
        const base = Array.from({ length: 5 * (gap + 2) }, (_, i) => `line ${i}`);
        const edited = (agent: string): string => {
          const at = AGENTS.indexOf(agent) * (gap + 2);
          return base.toSpliced(at, 1, `${agent} was`, 'here').join('\n');
        };
        const theirs = new Map(agents.map((agent) => [agent, edited(agent)]));
        const contents = { base: base.join('\n'), theirs };
        const decision = new MergeStrategy().resolve(recordOf(agents), { contents });
        const expected = base.flatMap((line, i) => {
          const agent = AGENTS[i / (gap + 2)];
          return agent !== undefined && agents.includes(agent) ? [`${agent} was`, 'here'] : [line];
        });
        expect(decision).toMatchObject({ winner: agents[0], merged: expected.join('\n') });
      }),
    );
  });
});

type Outcome = 'resolved' | 'escalated' | 'broken' | 'refused';

interface World {
  readonly resolver: ConflictResolver;
  readonly clock: ReturnType<typeof createTestClock>;
  readonly applied: string[];
  readonly events: string[];
  /** What the mesh knows now, and whether it can act. */
  facts: ConflictFacts;
  able: boolean;
}
interface Model {
  readonly open: Map<string, string>;
  readonly done: Map<string, { readonly by: string; readonly at: number }>;
  reported: number;
  now: number;
  counts: Record<Outcome, number>;
}
type Step = fc.AsyncCommand<Model, World>;

const step = (title: string, run: (model: Model, world: World) => Promise<void>): Step => ({
  check: () => true,
  run: async (model, world) => {
    await run(model, world);
    expectSame(model, world);
  },
  toString: () => title,
});

/** Every id that was ever given out, so that settled and forgotten ones are tried too. */
const idAt = (model: Model, world: World, n: number): string | undefined => {
  const ids = [...model.open.keys(), ...model.done.keys(), ...world.applied];
  return ids[n % Math.max(1, ids.length)];
};

const report = (subject: string, agents: readonly string[]): Step =>
  step(`report(${subject}, ${agents.join()})`, async (model, { resolver }) => {
    const record = await resolver.reportResourceConflict(subject, [...agents, agents[0] as string]);
    const key = JSON.stringify([subject, ...agents.toSorted()]);
    const known = [...model.open].find(([, open]) => open === key)?.[0];
    if (known !== undefined) expect(record.id).toBe(known);
    else {
      expect(model.done.has(record.id)).toBe(false);
      model.open.set(record.id, key);
      model.reported += 1;
    }
  });

const resolve = (n: number, strategy: string, facts: ConflictFacts): Step =>
  step(`resolve(${n}, ${strategy})`, async (model, world) => {
    const id = idAt(model, world, n);
    if (id === undefined) return;
    await expectAnswer(model, world, id, strategy, world.resolver.resolveConflict(id, strategy, facts));
  });

const autoResolve = (n: number, facts: ConflictFacts): Step =>
  step(`autoResolve(${n})`, async (model, world) => {
    const id = idAt(model, world, n);
    if (id === undefined) return;
    world.facts = facts;
    const isOpen = model.open.has(id);
    const answer = world.resolver.autoResolve(id);
    await expectAnswer(model, world, id, undefined, answer);
    if (isOpen) await expectNoGuess(facts, answer);
  });

const setAble = (able: boolean): Step =>
  step(able ? 'able' : 'unable', async (_, world) => {
    world.able = able;
  });

const cleanup = (waitMs: number, maxAgeMs: number): Step =>
  step(`cleanup(${waitMs}, ${maxAgeMs})`, async (model, { resolver, clock }) => {
    clock.tick(waitMs);
    model.now += waitMs;
    const old = [...model.done].filter(([, { at }]) => at <= model.now - maxAgeMs);
    for (const [id] of old) model.done.delete(id);
    expect(resolver.cleanupOldConflicts(maxAgeMs)).toBe(old.length);
  });

/** What decides by a fact of each agent decides only when it is known of all. */
async function expectNoGuess(facts: ConflictFacts, answer: Promise<Resolution>): Promise<void> {
  const resolution = await answer.catch(() => undefined);
  if (resolution === undefined) return;
  const { winner, losers, type } = resolution;
  const deciding: Record<string, ReadonlyMap<string, unknown> | undefined> = {
    priority: facts.agentPriorities,
    timestamp: facts.requestTimestamps,
    'optimistic-version': facts.versions,
    merge: facts.contents?.theirs,
  };
  for (const agent of type === 'vote' ? [] : [winner, ...losers])
    expect(deciding[type]?.has(agent)).toBe(true);
}

async function expectAnswer(
  model: Model,
  world: World,
  id: string,
  strategy: string | undefined,
  answer: Promise<Resolution>,
): Promise<void> {
  const before = world.applied.length;
  const result: { resolution?: Resolution; code?: string } = await answer.then(
    (resolution) => ({ resolution }),
    (error: { code: string }) => ({ code: error.code }),
  );
  const done = model.done.get(id);
  if (!model.open.has(id)) {
    expect(world.applied).toHaveLength(before);
    if (done === undefined) expect(result.code).toBe('UNKNOWN_CONFLICT');
    else if (strategy === undefined || strategy === done.by) expect(result.resolution?.type).toBe(done.by);
    else expect(result.code).toBe('CONFLICT_RESOLVED');
    model.counts.refused += 1;
  } else if (result.resolution !== undefined) {
    const { winner, losers, type, at, conflictId } = result.resolution;
    expect(world.applied.slice(before)).toEqual([id]);
    expect(conflictId).toBe(id);
    const agents = (JSON.parse(model.open.get(id) as string) as string[]).slice(1);
    expect([winner, ...losers].toSorted()).toEqual(agents);
    expect(at).toBe(world.clock.wall());
    model.open.delete(id);
    model.done.set(id, { by: type, at: model.now });
    model.counts.resolved += 1;
  } else {
    expect(world.applied).toHaveLength(before);
    expect(['CONFLICT_ESCALATED', 'CONFLICT_UNRESOLVED']).toContain(result.code);
    model.counts[result.code === 'CONFLICT_ESCALATED' ? 'escalated' : 'broken'] += 1;
  }
}

function expectSame(model: Model, { resolver, events, applied }: World): void {
  const { active, resolved, escalated, failed } = resolver.getStats();
  const heard = (name: string): number => events.filter((event) => event === name).length;
  expectEqual(
    {
      open: resolver.getActiveConflicts().map(({ id }) => id),
      done: resolver.getConflictHistory().map(({ conflict }) => conflict.id),
      reported: [active + resolved, heard('conflict:reported')],
      resolved: [resolved, heard('conflict:resolved'), applied.length],
      escalated: [escalated, heard('conflict:escalated')],
      failed,
    },
    {
      open: [...model.open.keys()],
      done: [...model.done.keys()].toReversed(),
      // Conservation: each reported conflict is open or was resolved once, and each resolution was applied once.
      reported: [model.reported, model.reported],
      resolved: Array(3).fill(new Set(applied).size),
      escalated: Array(2).fill(model.counts.escalated),
      failed: model.counts.broken,
    },
  );
}

/** As `toEqual` for plain data, and fast while it holds. */
function expectEqual(found: unknown, expected: unknown): void {
  if (JSON.stringify(found) !== JSON.stringify(expected)) expect(found).toEqual(expected);
}

function createWorld(): World {
  const clock = createTestClock();
  const bus = new EventBus({ clock });
  const world: World = {
    clock,
    applied: [],
    events: [],
    facts: {},
    able: true,
    resolver: new ConflictResolver(undefined, bus, {
      runtime: createRuntime({ clock }),
      facts: () => world.facts,
      apply: (resolution) => {
        if (!world.able) throw new Error('the lock is gone');
        world.applied.push(resolution.conflictId);
      },
    }),
  };
  world.resolver.registerStrategy({
    name: 'throws',
    resolve: () => {
      throw new Error('bug');
    },
  });
  world.resolver.registerStrategy({ name: 'stranger', resolve: () => ({ winner: 'stranger', reason: '' }) });
  world.resolver.registerStrategy({ name: 'rejects', resolve: () => Promise.reject(new Error('bug')) });
  bus.tap(({ name }) => void world.events.push(name));
  return world;
}

describe('ConflictResolver', () => {
  test('a conflict is open or resolved once, whatever strategies, facts and the mesh do (model)', async () => {
    const strategyOf = fc.constantFrom(
      'priority',
      'timestamp',
      'vote',
      'optimistic-version',
      'merge',
      'throws',
      'stranger',
      'rejects',
    );
    const commandsOf = fc.commands([
      fc.tuple(fc.constantFrom('file', '__proto__'), partiesOf).map((facts) => report(...facts)),
      fc.tuple(fc.nat(9), strategyOf, factsOf).map((facts) => resolve(...facts)),
      fc.tuple(fc.nat(9), factsOf).map((facts) => autoResolve(...facts)),
      fc.boolean().map(setAble),
      fc.tuple(fc.nat(100), fc.nat(100)).map((facts) => cleanup(...facts)),
    ]);
    const total: Record<Outcome, number> = { resolved: 0, escalated: 0, broken: 0, refused: 0 };
    await fc.assert(
      fc.asyncProperty(commandsOf, async (commands) => {
        const counts = { resolved: 0, escalated: 0, broken: 0, refused: 0 };
        await fc.asyncModelRun(
          () => ({
            model: { open: new Map(), done: new Map(), reported: 0, now: 0, counts },
            real: createWorld(),
          }),
          commands,
        );
        for (const outcome of Object.keys(total) as Outcome[]) total[outcome] += counts[outcome];
      }),
    );
    // Runs that never meet the hard cases prove nothing; a replay of a few needn't.
    const answers = Object.values(total).reduce((sum, count) => sum + count, 0);
    if (answers < ENOUGH) return;
    for (const count of Object.values(total)) expect(count / answers).toBeGreaterThan(0.05);
  });

  test('calls that overlap are applied once and agree, in every interleaving', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.scheduler(),
        fc.array(fc.constantFrom('priority', 'timestamp', undefined), { minLength: 2, maxLength: 5 }),
        fc.nat(3),
        async (scheduler, calls, failures) => {
          let applied = 0;
          let left = failures;
          const clock = createTestClock();
          const facts = {
            agentPriorities: new Map([
              ['a', 0],
              ['b', 1],
            ]),
          };
          const resolver = new ConflictResolver(undefined, undefined, {
            runtime: createRuntime({ clock }),
            facts: scheduler.scheduleFunction(async () => facts),
            apply: scheduler.scheduleFunction(async () => {
              if (left-- > 0) throw new Error('not now');
              applied += 1;
            }),
          });
          const { id } = await resolver.reportResourceConflict('file', ['a', 'b'], {
            requestTimestamps: new Map([['a', 1]]),
          });
          const answers = calls.map((strategy) =>
            strategy === undefined ? resolver.autoResolve(id) : resolver.resolveConflict(id, strategy, facts),
          );
          const settled = Promise.allSettled(answers);
          await scheduler.waitFor(settled);
          const results = await settled;
          const won = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
          expect(new Set(won).size).toBe(Math.min(1, won.length));
          expect(applied).toBe(won.length > 0 ? 1 : 0);
          const codes = results.flatMap((result) =>
            result.status === 'rejected' ? [(result.reason as { code: string }).code] : [],
          );
          const broken = codes.filter((code) => code === 'CONFLICT_UNRESOLVED').length;
          expect(broken).toBe(Math.min(failures, calls.length));
          expect(codes.filter((code) => code === 'CONFLICT_RESOLVED')).toHaveLength(codes.length - broken);
          expect(resolver.getActiveConflicts()).toHaveLength(won.length > 0 ? 0 : 1);
        },
      ),
    );
  });
});
