import { describe, expect, test } from 'vitest';
import type { TaskState, Transition } from '../../src/core/ports/tasks.ts';
import { checkAll, checkSurvivors } from '../chaos/checks/checks.ts';
import type { Evidence, Fault, Problem, Rest, Sample, StoredTask } from '../chaos/checks/evidence.ts';
import { historyProblems } from '../chaos/checks/transitions.ts';
import { randomCase } from '../chaos/deadlocks/cases.ts';
import { judge } from '../chaos/deadlocks/verdict.ts';
import type { Deed, Entry } from '../chaos/journal.ts';
import { planRound, QUICK } from '../chaos/plan.ts';
import { createRandom } from '../../src/core/runtime/random.ts';

/** Every check of the chaos run must find a violation that was planted, and nothing where there is none. */

const SECOND = 1_000_000;

function at(t: number, p: string, deed: Deed): Entry {
  return { t, p, ...deed };
}

function step(
  task: string,
  from: Transition['from'],
  to: TaskState,
  more: Partial<Record<'at' | 'attempt' | 'token' | 'session', number>> = {},
): Transition {
  return { task, from, to, at: 0, attempt: 0, token: 0, ...more } as unknown as Transition;
}

const sample = (states: Record<string, number>, enqueued: number, pruned = 0): Sample => ({
  ...{ t: 900, enqueued, pruned, states, held: [] },
});
const rest = (more: Partial<Rest> = {}): Rest => ({
  ...{ t: 10_000, holders: 0, waiters: 0, rows: 1, sample: sample({ completed: 1 }, 1) },
  ...more,
});
const task = (id: string, more: Partial<StoredTask> = {}): StoredTask => ({
  ...{ id, state: 'completed', type: 'effect', priority: 2, attempt: 1, crashes: 0, by: 'w', n: 1 },
  ...more,
});

/** One task, one lock and one message, as they should be. */
function sound(): Evidence {
  return {
    entries: [
      at(100, 'w', { e: 'submit', n: 1, kind: 'effect', task: 'a' }),
      at(101, 'w', { e: 'submitted', n: 1, task: 'a' }),
      at(110, 'x', { e: 'begin', task: 'a', kind: 'effect', token: 11, attempt: 1, running: 1 }),
      ...taking('w', 5, 'r', { ask: 200, got: 210, token: 50, until: 230 }),
      ...taking('x', 6, 'r', { ask: 205, got: 240, token: 60, until: 260 }),
      at(300, 'w', { e: 'send', to: 'box', n: 7 }),
      at(301, 'w', { e: 'sent', to: 'box', n: 7 }),
      at(302, 'x', { e: 'received', from: 'w', to: 'box', n: 7, redelivered: false }),
    ],
    faults: [],
    history: [
      step('a', 'new', 'ready', { at: 1 * SECOND }),
      step('a', 'ready', 'claimed', { at: 2 * SECOND, attempt: 1, token: 11, session: 3 }),
      step('a', 'claimed', 'completed', { at: 3 * SECOND, attempt: 1, token: 11 }),
    ],
    tasks: new Map([['a', task('a')]]),
    effects: [{ task: 'a', token: 11, p: 'x' }],
    writes: [
      { resource: 'r', token: 50, p: 'w' },
      { resource: 'r', token: 60, p: 'x' },
    ],
    orders: new Set(),
    samples: [sample({ completed: 1 }, 1)],
    rests: [rest()],
    ...{ leaseMs: 1_000, slots: 4, stallMs: 0 },
  };
}

function taking(
  p: string,
  n: number,
  resource: string,
  times: { ask: number; got: number; token: number; until: number },
): Entry[] {
  const { ask, got, token, until } = times;
  return [
    at(ask, p, { e: 'ask', n, resource, mode: 'exclusive' }),
    at(ask + 1, p, { e: 'queued', n }),
    at(got, p, { e: 'got', n, token }),
    at(got, p, { e: 'hold', n, token }),
    at(until, p, { e: 'hold', n, token }),
    at(until, p, { e: 'give', n }),
    at(until + 1, p, { e: 'gave', n }),
  ];
}

const kill = (p: string, t: number, more: Partial<Extract<Fault, { f: 'kill' }>> = {}): Fault => ({
  ...{ f: 'kill', p, t, at: t * 1_000, session: 3, tasks: [] },
  ...more,
});

function with_(change: Partial<Evidence>, entries: readonly Entry[] = []): Evidence {
  const base = { ...sound(), ...change };
  return { ...base, entries: [...base.entries, ...entries].toSorted((a, b) => a.t - b.t) };
}

const invariants = (problems: readonly Problem[]): string[] => [
  ...new Set(problems.map(({ invariant }) => invariant)),
];

test('nothing is found where nothing is wrong', () => {
  expect(checkAll(sound())).toEqual([]);
  expect(checkSurvivors(sound())).toEqual([]);
});

const begin = (task: string, more: Partial<Extract<Deed, { e: 'begin' }>> = {}): Deed => ({
  ...{ e: 'begin', task, kind: 'effect', token: 11, attempt: 1, running: 1 },
  ...more,
});

/** One more task of another kind, with a whole history. */
function second(more: Partial<StoredTask>, steps?: readonly Transition[]): Partial<Evidence> {
  const { history, tasks } = sound();
  const own = steps ?? [
    step('b', 'new', 'ready', { at: 1 * SECOND }),
    step('b', 'ready', 'claimed', { at: 2 * SECOND, attempt: 1, token: 21, session: 3 }),
    step('b', 'claimed', 'completed', { at: 3 * SECOND, attempt: 1, token: 21 }),
  ];
  return {
    tasks: new Map([...tasks, ['b', task('b', { type: 'flaky', n: 2, ...more })]]),
    history: [...history, ...own],
    samples: [sample({ completed: 2 }, 2)],
    rests: [rest({ rows: 2, sample: sample({ completed: 2 }, 2) })],
  };
}

const planted: Record<string, () => Evidence> = {
  'T1 an acknowledged task is not there': () =>
    with_({}, [
      at(400, 'w', { e: 'submit', n: 9, kind: 'flaky' }),
      at(401, 'w', { e: 'submitted', n: 9, task: 'gone' }),
    ]),
  'T1 a task never ends': () =>
    with_(second({ state: 'ready' }, [step('b', 'new', 'ready', { at: SECOND })])),
  'T1 a task ends dead that should not': () =>
    with_(
      second({ state: 'dead' }, [
        step('b', 'new', 'ready', { at: SECOND }),
        step('b', 'ready', 'claimed', { at: SECOND, attempt: 1, token: 21, session: 3 }),
        step('b', 'claimed', 'dead', { at: SECOND, attempt: 1, token: 21 }),
      ]),
    ),
  'G1 one submission makes two tasks': () => with_(second({ n: 1 })),
  'T2 a key is two tasks': () =>
    with_(second({}), [
      at(400, 'w', { e: 'submitted', n: 8, task: 'a', key: 'k' }),
      at(401, 'x', { e: 'submitted', n: 9, task: 'b', key: 'k' }),
    ]),
  'T2 a key is accepted with two payloads': () =>
    with_({}, [
      at(400, 'w', { e: 'submit', n: 8, kind: 'keyed', key: 'k', other: false }),
      at(401, 'w', { e: 'submitted', n: 8, task: 'a', key: 'k' }),
      at(402, 'x', { e: 'submit', n: 9, kind: 'keyed', key: 'k', other: true }),
      at(403, 'x', { e: 'submitted', n: 9, task: 'a', key: 'k' }),
    ]),
  'T3 one attempt begins in two processes': () => with_({}, [at(120, 'y', begin('a'))]),
  'T3 a claim has an older token': () =>
    with_(
      second({}, [
        step('b', 'new', 'ready', { at: SECOND }),
        step('b', 'ready', 'claimed', { at: SECOND, attempt: 1, token: 21, session: 3 }),
        step('b', 'claimed', 'claimed', { at: SECOND, attempt: 1, token: 20, session: 4 }),
        step('b', 'claimed', 'completed', { at: SECOND, attempt: 1, token: 21 }),
      ]),
    ),
  'T4 it is completed by an older token': () =>
    with_(
      second({}, [
        step('b', 'new', 'ready', { at: SECOND }),
        step('b', 'ready', 'claimed', { at: SECOND, attempt: 1, token: 21, session: 3 }),
        step('b', 'claimed', 'claimed', { at: SECOND, attempt: 1, token: 22, session: 4 }),
        step('b', 'claimed', 'completed', { at: SECOND, attempt: 1, token: 21 }),
      ]),
    ),
  'T4 it ends twice': () => {
    const { history } = sound();
    return with_({
      history: [...history, step('a', 'claimed', 'completed', { at: 4 * SECOND, attempt: 1, token: 11 })],
    });
  },
  'T4 its submitter heard of a result that is not stored': () =>
    with_({}, [at(400, 'w', { e: 'outcome', task: 'gone', as: 'completed' })]),
  'T4 an effect under an older token, in a store without transactions': () => {
    const { orders: _, ...none } = sound();
    return {
      ...none,
      effects: [
        { task: 'a', token: 11, p: 'x' },
        { task: 'a', token: 10, p: 'w' },
      ],
    };
  },
  'T4 completed without its effect, in a store without transactions': () => {
    const { orders: _, ...none } = sound();
    return { ...none, effects: [] };
  },
  'T5 an attempt is counted wrongly': () =>
    with_(second({}), [at(120, 'x', begin('b', { token: 21, attempt: 2 }))]),
  'T5 a crash that was none': () => with_(second({ crashes: 1 })),
  'T5 poison is not buried': () => with_(second({ type: 'poison' })),
  'T6 a task of a killed worker waits too long': () => {
    const steps = [
      step('b', 'new', 'ready', { at: SECOND }),
      step('b', 'ready', 'claimed', { at: 2 * SECOND, attempt: 1, token: 21, session: 3 }),
      step('b', 'claimed', 'claimed', { at: 13 * SECOND, attempt: 1, token: 22, session: 4 }),
      step('b', 'claimed', 'completed', { at: 14 * SECOND, attempt: 1, token: 22 }),
    ];
    return with_({ ...second({}, steps), faults: [kill('x', 10_000, { tasks: ['b'] })] });
  },
  'T7 a task is overtaken by one that came long after': () => {
    const steps = [
      step('b', 'new', 'ready', { at: 4 * SECOND }),
      step('b', 'ready', 'claimed', { at: 5 * SECOND, attempt: 1, token: 21, session: 3 }),
      step('b', 'claimed', 'completed', { at: 6 * SECOND, attempt: 1, token: 21 }),
    ];
    const late = second({}, steps);
    const history = (late.history ?? []).map((one) =>
      one.task === 'a' && one.from !== 'new'
        ? { ...one, at: (one.at + 8 * SECOND) as Transition['at'] }
        : one,
    );
    return with_({ ...late, history });
  },
  'T8 a task begins before its time': () =>
    with_(second({ by: 'w', n: 2 }), [
      at(400, 'w', { e: 'submit', n: 2, kind: 'later', delayMs: 500 }),
      at(600, 'x', begin('b', { token: 21 })),
    ]),
  'T9 a count is lost': () => with_({ samples: [sample({ completed: 1 }, 2)] }),
  'T9 a row is lost': () => with_({ rests: [rest({ rows: 0 })] }),
  'T9 more were acknowledged than are counted': () =>
    with_({}, [at(400, 'w', { e: 'submitted', n: 9, task: 'a2' })]),
  'T10 more handlers than slots': () =>
    with_(second({}), [at(120, 'x', begin('b', { token: 21, running: 5 }))]),
  'T11 an effect twice': () => with_({ effects: [...sound().effects, { task: 'a', token: 11, p: 'y' }] }),
  'T11 an effect under another token than the end': () =>
    with_({ effects: [{ task: 'a', token: 10, p: 'x' }] }),
  'T11 a row was committed without its task': () =>
    with_({ orders: new Set(['o']) }, [at(400, 'w', { e: 'submit', n: 9, kind: 'order', task: 'o' })]),
  'T11 a rolled-back task is there': () =>
    with_(second({}), [at(400, 'w', { e: 'submit', n: 9, kind: 'order', task: 'b', rolledBack: true })]),
  'graph a child is claimed before its parent has ended': () =>
    with_(second({}), [at(400, 'w', { e: 'submit', n: 9, kind: 'child', task: 'b', after: ['a'] })]),
  'G2 an answer that says nothing': () =>
    with_({}, [at(400, 'w', { e: 'refused', n: 9, code: 'UNKNOWN oops' })]),
  'G2 an unhandled rejection': () => with_({}, [at(400, 'w', { e: 'odd', what: 'unhandled rejection' })]),
  'history a step is missing': () => with_({ history: sound().history.filter(({ to }) => to !== 'claimed') }),
  'history the end is missing': () => with_({ history: sound().history.slice(0, 2) }),
  'L1 one token twice': () => with_({}, taking('y', 8, 'r', { ask: 400, got: 410, token: 60, until: 420 })),
  'L1 a token is smaller than one before': () =>
    with_({}, taking('y', 8, 'r', { ask: 400, got: 410, token: 55, until: 420 })),
  'L2 two hold it at one time': () =>
    with_({}, taking('y', 8, 'r', { ask: 206, got: 250, token: 70, until: 270 })),
  'L2 the store has two holders': () => {
    const held = [{ resource: 'r', exclusive: 2, shared: 0, units: 0, of: 0 }];
    return with_({ samples: [{ ...sample({ completed: 1 }, 1), held }] });
  },
  'L2 too many units are held': () => {
    const held = [{ resource: 's', exclusive: 0, shared: 0, units: 4, of: 3 }];
    return with_({ samples: [{ ...sample({ completed: 1 }, 1), held }] });
  },
  'L2 a write under an old token is accepted': () =>
    with_({ writes: [...sound().writes, { resource: 'r', token: 50, p: 'w' }] }),
  'L3 what a killed process held is granted too late': () => {
    const dead = taking('y', 8, 'q', { ask: 5_000, got: 5_010, token: 70, until: 5_100 }).slice(0, 5);
    const next = taking('x', 9, 'q', { ask: 5_050, got: 9_000, token: 80, until: 9_010 });
    return with_({ faults: [kill('y', 5_200)] }, [...dead, ...next]);
  },
  'L4 a lease revives after a pause': () =>
    with_(
      { faults: [{ f: 'freeze', p: 'y', t: 5_050, until: 7_000 }] },
      taking('y', 8, 'q', { ask: 5_000, got: 5_010, token: 70, until: 7_100 }),
    ),
  'L6 somebody is left': () => with_({ rests: [rest({ waiters: 1 })] }),
  'L7 who came later is first': () =>
    with_({}, [
      ...taking('y', 8, 'q', { ask: 5_000, got: 5_500, token: 90, until: 5_510 }),
      ...taking('x', 9, 'q', { ask: 5_100, got: 5_200, token: 80, until: 5_210 }),
    ]),
  'L7 somebody waits in vain': () =>
    with_({}, [
      at(5_000, 'y', { e: 'ask', n: 8, resource: 'q', mode: 'exclusive' }),
      at(20_000, 'y', { e: 'denied', n: 8, code: 'LOCK_TIMEOUT' }),
    ]),
  'L8 two wait to upgrade': () =>
    with_({}, [
      at(5_000, 'y', { e: 'ask', n: 8, resource: 'q', mode: 'shared' }),
      at(5_000, 'x', { e: 'ask', n: 9, resource: 'q', mode: 'shared' }),
      at(5_100, 'y', { e: 'upgrade', n: 8 }),
      at(5_100, 'x', { e: 'upgrade', n: 9 }),
      at(8_000, 'x', { e: 'kept', n: 9, code: 'LOCK_TIMEOUT' }),
      at(8_000, 'y', { e: 'upgraded', n: 8, token: 70 }),
    ]),
  'D1 a victim of no deadlock': () =>
    with_({}, [
      at(5_000, 'y', { e: 'ask', n: 8, resource: 'q', mode: 'exclusive' }),
      at(5_100, 'y', { e: 'denied', n: 8, code: 'DEADLOCK' }),
    ]),
  'M1 a message is lost': () => with_({}, [at(400, 'w', { e: 'sent', to: 'box', n: 9 })]),
  'M1 a message comes twice unsaid': () =>
    with_({}, [at(400, 'x', { e: 'received', from: 'w', to: 'box', n: 7, redelivered: false })]),
  'M1 a message overtakes': () =>
    with_({}, [
      at(303, 'w', { e: 'sent', to: 'box', n: 8 }),
      at(304, 'w', { e: 'sent', to: 'box', n: 9 }),
      at(400, 'x', { e: 'received', from: 'w', to: 'box', n: 9, redelivered: false }),
      at(401, 'x', { e: 'received', from: 'w', to: 'box', n: 8, redelivered: false }),
    ]),
};

test.each(Object.entries(planted))('%s: found', (name, evidence) => {
  expect(invariants(checkAll(evidence()))).toContain(name.split(' ')[0]);
});

describe('what is no violation', () => {
  test('M1: a message that comes again and says so', () => {
    const again = at(400, 'x', { e: 'received', from: 'w', to: 'box', n: 7, redelivered: true });
    expect(checkAll(with_({}, [again]))).toEqual([]);
  });

  test('L3: a holder that is killed, and the next one in time', () => {
    const dead = taking('y', 8, 'q', { ask: 5_000, got: 5_010, token: 70, until: 5_100 }).slice(0, 5);
    const next = taking('x', 9, 'q', { ask: 5_050, got: 6_900, token: 80, until: 6_910 });
    expect(checkAll(with_({ faults: [kill('y', 5_200)] }, [...dead, ...next]))).toEqual([]);
  });

  test('T6, L3: time is not measured while the store is away', () => {
    const dead = taking('y', 8, 'q', { ask: 5_000, got: 5_010, token: 70, until: 5_100 }).slice(0, 5);
    const next = taking('x', 9, 'q', { ask: 5_050, got: 9_000, token: 80, until: 9_010 });
    const away: Fault = { f: 'server', p: '*', t: 5_500, until: 7_500 };
    expect(checkAll(with_({ faults: [kill('y', 5_200), away] }, [...dead, ...next]))).toEqual([]);
  });

  test('history: a retry, a takeover and a refunded attempt', () => {
    const steps = [
      step('b', 'new', 'scheduled'),
      step('b', 'scheduled', 'ready'),
      step('b', 'ready', 'claimed', { attempt: 1, token: 1, session: 1 }),
      step('b', 'claimed', 'claimed', { attempt: 1, token: 2, session: 2 }),
      step('b', 'claimed', 'ready', { attempt: 0, token: 2 }),
      step('b', 'ready', 'claimed', { attempt: 1, token: 3, session: 2 }),
      step('b', 'claimed', 'scheduled', { attempt: 1, token: 3 }),
      step('b', 'scheduled', 'ready', { attempt: 1 }),
      step('b', 'ready', 'claimed', { attempt: 2, token: 4, session: 2 }),
      step('b', 'claimed', 'completed', { attempt: 2, token: 4 }),
    ];
    expect(historyProblems('b', steps)).toEqual([]);
  });
});

describe('deadlocks', () => {
  const random = createRandom('cases');
  const ending = (owner: string, more: object = {}) => ({ owner, askedAt: 0, at: 100, ...more });

  test('a case is a ring of 2 to 10 processes, each its own; a control lacks a link or has a way out', () => {
    for (let i = 0; i < 200; i++) {
      const isDeadlock = i % 2 === 0;
      const { members, order } = randomCase(i, isDeadlock, 10, random);
      expect(new Set(members.map(({ process }) => process)).size).toBe(members.length);
      const waiting = members.filter(({ wants }) => wants !== undefined).length;
      expect(order).toHaveLength(waiting);
      const bystanders = members.filter(({ owner }) => owner.includes('bystander')).length;
      expect(members.length - waiting).toBe(isDeadlock ? 0 : 1);
      expect(members.length - bystanders).toBeGreaterThanOrEqual(2);
      expect(members.length - bystanders).toBeLessThanOrEqual(10);
    }
  });

  test('D1 to D4: missed, a false victim, a second one, a survivor that gets nothing, a stranger in the cycle', () => {
    const ring = randomCase(0, true, 10, random);
    const control = randomCase(1, false, 10, random);
    const all = ring.members.map(({ owner }) => ending(owner));
    const [first, second, ...others] = all as [ReturnType<typeof ending>, ReturnType<typeof ending>];
    const victim = { ...first, code: 'DEADLOCK', cycle: [first.owner, second.owner] };
    expect(judge(ring, [victim, second, ...others])).toMatchObject({
      missed: false,
      latencyMs: 100,
      problems: [],
    });
    expect(judge(ring, all)).toMatchObject({ missed: true });
    expect(invariants(judge(ring, [victim, { ...second, code: 'DEADLOCK' }, ...others]).problems)).toEqual([
      'D3',
    ]);
    expect(
      invariants(judge(ring, [victim, { ...second, code: 'LOCK_TIMEOUT' }, ...others]).problems),
    ).toEqual(['D4']);
    expect(invariants(judge(ring, [{ ...victim, cycle: ['x'] }, second, ...others]).problems)).toEqual([
      'D1',
    ]);
    const innocent = ending(control.members[0]?.owner ?? '', { code: 'DEADLOCK' });
    expect(invariants(judge(control, [innocent]).problems)).toEqual(['D1']);
  });
});

test('the plan of a seed is always the same, and has what was promised', () => {
  const rounds = Array.from({ length: QUICK.rounds }, (_, i) => planRound('s', i, QUICK, 1_000));
  expect(rounds[0]).toEqual(planRound('s', 0, QUICK, 1_000));
  expect(rounds[0]).not.toEqual(planRound('t', 0, QUICK, 1_000));
  const steps = rounds.flat();
  const count = (what: string): number => steps.filter((one) => one.do === what).length;
  expect(count('kill')).toBeGreaterThanOrEqual(30);
  expect(count('server')).toBeGreaterThanOrEqual(5);
  expect(count('freeze')).toBeGreaterThanOrEqual(5);
  expect(count('partition')).toBeGreaterThanOrEqual(10);
  expect(count('clock')).toBeGreaterThanOrEqual(5);
  expect(steps.reduce((sum, one) => sum + (one.do === 'cut' ? one.count : 0), 0)).toBeGreaterThanOrEqual(200);
  const pauses = steps.flatMap((one) => (one.do === 'freeze' ? [one.ms] : []));
  expect(Math.min(...pauses)).toBeGreaterThanOrEqual(1_500);
  expect(Math.max(...pauses)).toBeLessThanOrEqual(3_000);
});
