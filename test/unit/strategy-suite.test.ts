import { expect, test } from 'vitest';
import type { Candidate, SchedulingStrategy } from '../../src/scheduler/strategy.ts';
import { strategySuite, type StrategySuiteOptions } from '../../src/testing/suites/strategy.ts';

type Expected = StrategySuiteOptions['expected'];

/** The names of the suite's tests that fail for a strategy. */
async function failures(create: () => SchedulingStrategy, expected: Expected = {}): Promise<string[]> {
  const tests: { readonly name: string; readonly body: () => Promise<void> }[] = [];
  strategySuite({ test: (name, body) => void tests.push({ name, body }), create, expected });
  const failed: string[] = [];
  for (const { name, body } of tests) await body().catch(() => failed.push(name.replace('strategy: ', '')));
  return failed;
}

const first = (candidates: readonly Candidate[]): string | undefined => candidates[0]?.id;
const shared = { calls: 0 };

test('a plain strategy passes', async () => {
  expect(await failures(() => ({ name: 'first', select: (_task, candidates) => first(candidates) }))).toEqual(
    [],
  );
});

test('one that always waits passes only when it says so', async () => {
  const waits = (): SchedulingStrategy => ({ name: 'waits', select: () => undefined });
  expect(await failures(waits)).toContain(
    'select names a candidate at once, whatever the pool and without history',
  );
  expect(await failures(waits, { waits: true })).toEqual([]);
});

type Fault = readonly [fault: string, found: RegExp, create: () => SchedulingStrategy, expected?: Expected];
const faults: readonly Fault[] = [
  ['names a stranger', /select names/, () => ({ name: 's', select: (task) => task.prefer[0] ?? 'agent-0' })],
  [
    'is async',
    /select names/,
    () => ({ name: 'async', select: (async (_: unknown, c: readonly Candidate[]) => first(c)) as never }),
  ],
  [
    'names a stranger when asked with a pool',
    /selectFrom names/,
    () => ({ name: 's', select: (_t, c) => first(c), selectFrom: () => 'nobody' }),
  ],
  [
    'needs history',
    /select names/,
    () => ({ name: 'h', select: (task, c) => c.find((each) => each.history(task.type).runs > 0)?.id }),
  ],
  [
    'sorts the candidates in place',
    /select names/,
    () => ({ name: 'm', select: (_t, c) => (c as Candidate[]).sort((a, b) => a.load - b.load)[0]?.id }),
  ],
  [
    'draws its own random numbers',
    /the same seed/,
    () => ({ name: 'r', select: (_t, c) => c[shared.calls++ % c.length]?.id }),
  ],
  [
    'throws at unknown outcomes',
    /takes outcomes/,
    () => ({
      name: 'o',
      select: (_t, c) => first(c),
      observe: ({ agentId }) => {
        if (!agentId.startsWith('agent-')) throw new Error('who?');
      },
    }),
  ],
  [
    'has a snapshot only',
    /has a name/,
    () => ({ name: 'x', select: (_t, c) => first(c), snapshot: () => 1 }),
  ],
  ['keeps a Map', /plain JSON/, () => rotating((turn) => new Map([['turn', turn]]) as never)],
  ['restores nothing', /plain JSON/, () => ({ ...rotating((turn) => turn), restore: () => undefined })],
  ['forgets nothing', /bounded/, hoarder],
  [
    'compares everybody with everybody',
    /bounded number/,
    () => ({
      name: 'q',
      select: (_t, c) => c.find((a) => c.every((b) => a.load <= b.load || a.load > b.load))?.id && all(c),
    }),
  ],
  [
    'takes a turn for an explanation',
    /explains itself/,
    () => {
      const inner = rotating((turn) => turn);
      const explain: SchedulingStrategy['explain'] = (task, pool, context) => {
        const agent = inner.select(task, [...pool], context) as string;
        return { agent, reason: 'my turn', alternatives: [] };
      };
      return { ...inner, explain };
    },
  ],
  [
    'sends all to one',
    /uses the room/,
    () => ({ name: 'one', select: (_t, c) => first(c) }),
    { spreads: true },
  ],
];

const cases = faults.map(([fault, found, create, expected]) => ({ fault, found, create, expected }));
test.each(cases)('a strategy that $fault is found', async ({ found, create, expected }) => {
  expect((await failures(create, expected)).join('\n')).toMatch(found);
});

function rotating(state: (turn: number) => number): SchedulingStrategy {
  let turn = 0;
  return {
    name: 'rotating',
    select: (_task, candidates) => candidates[turn++ % candidates.length]?.id,
    snapshot: () => state(turn),
    restore: (from) => {
      turn = from as number;
    },
  };
}

function hoarder(): SchedulingStrategy {
  const types: string[] = [];
  return {
    name: 'hoarder',
    select: (_task, candidates) => first(candidates),
    observe: ({ type }) => void types.push(type),
    snapshot: () => [...types],
    restore: () => undefined,
  };
}

/** Reads every candidate once for each candidate. */
function all(candidates: readonly Candidate[]): string | undefined {
  let least: string | undefined;
  for (const a of candidates) for (const b of candidates) if (a.load <= b.load) least = a.id;
  return least;
}
