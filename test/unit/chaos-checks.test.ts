import { describe, expect, test } from 'vitest';
import type { TaskState, Transition } from '../../src/core/ports/tasks.ts';
import { checkAll, checkSurvivors, looks, unlooked } from '../chaos/checks/checks.ts';
import {
  begunUnderClaims,
  crashesCounted,
  effectsOwned,
  takenOverFromTheDead,
} from '../chaos/checks/claims.ts';
import type {
  Evidence,
  Fault,
  Look,
  Problem,
  Reading,
  Rest,
  Sample,
  StoredTask,
  TaskRow,
} from '../chaos/checks/evidence.ts';
import { writesGranted } from '../chaos/checks/locks.ts';
import { receiptsCaused } from '../chaos/checks/messages.ts';
import { historyAsStored, tasksAsStored } from '../chaos/checks/reading.ts';
import {
  effectsOnce,
  keysNameOneTask,
  notStarved,
  ordersNotStarved,
  outcomesTrue,
} from '../chaos/checks/tasks.ts';
import { historyProblems } from '../chaos/checks/transitions.ts';
import { randomCase } from '../chaos/deadlocks/cases.ts';
import { judge } from '../chaos/deadlocks/verdict.ts';
import type { Deed, Entry } from '../chaos/journal.ts';
import { planRound, QUICK, type Tally, tooFew } from '../chaos/plan.ts';
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

// The store's clock is 1 s ahead of that of the journals.
const sample = (states: Record<string, number>, enqueued: number, pruned = 0): Sample => ({
  ...{ t: 900, at: 1_900_000, enqueued, pruned, states, held: [] },
});
const rest = (more: Partial<Rest> = {}): Rest => ({
  ...{ t: 10_000, holders: 0, waiters: 0, rows: 1, letters: 0, sample: sample({ completed: 1 }, 1) },
  ...more,
});
const task = (id: string, more: Partial<StoredTask> = {}): StoredTask => ({
  ...{ id, state: 'completed', type: 'effect', priority: 2, attempt: 1, crashes: 0, by: 'w', n: 1 },
  ...more,
});

/** A store whose rows say what the library says of it. Sessions 3 and 4 are of x and y. */
function readingOf(tasks: Evidence['tasks'], history: readonly Transition[]): Reading {
  const sessions = new Map([
    [3, { pid: 33, endsAt: 100 * SECOND }],
    [4, { pid: 44, endsAt: 100 * SECOND }],
  ]);
  return { tasks, history, sessions };
}

/** One task, one lock and one message, as they should be. */
function sound(): Evidence {
  const tasks = new Map([['a', task('a')]]);
  const history = [
    step('a', 'new', 'ready', { at: 1 * SECOND }),
    step('a', 'ready', 'claimed', { at: 2 * SECOND, attempt: 1, token: 11, session: 3 }),
    step('a', 'claimed', 'completed', { at: 3 * SECOND, attempt: 1, token: 11 }),
  ];
  return {
    entries: [
      at(90, 'x', { e: 'start', pid: 33 }),
      at(90, 'y', { e: 'start', pid: 44 }),
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
    history,
    tasks,
    reading: readingOf(tasks, history),
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
  const plain = { ...sound(), ...change };
  const base = { ...plain, reading: change.reading ?? readingOf(plain.tasks, plain.history) };
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

/** Problems of one check alone, in words. */
const told = (look: Look | undefined): string[] => (look?.problems ?? []).map(({ what }) => what);

/** What became of a second task, run by x as session 3 until 2.5 s and by y as session 4 from then on. */
function takenOver(more: {
  readonly endsAt?: number;
  readonly crashes?: number;
  readonly attempt?: number;
  readonly last?: readonly Transition[];
}): Evidence {
  const steps = [
    step('b', 'new', 'ready', { at: SECOND }),
    step('b', 'ready', 'claimed', { at: 2 * SECOND, attempt: 1, token: 21, session: 3 }),
    step('b', 'claimed', 'claimed', { at: 3 * SECOND, attempt: 1, token: 22, session: 4 }),
    ...(more.last ?? [
      step('b', 'claimed', 'ready', { at: 3 * SECOND, attempt: 0, token: 22, session: 4 }),
      step('b', 'ready', 'claimed', { at: 4 * SECOND, attempt: more.attempt ?? 1, token: 23, session: 4 }),
      step('b', 'claimed', 'completed', { at: 5 * SECOND, attempt: more.attempt ?? 1, token: 23 }),
    ]),
  ];
  const { crashes = 1, attempt = 1 } = more;
  const evidence = with_(second({ crashes, attempt }, steps), [
    at(120, 'x', begin('b', { token: 21 })),
    ...(more.last === undefined ? [at(140, 'y', begin('b', { token: 23 }))] : []),
  ]);
  const sessions = new Map(evidence.reading.sessions).set(3, {
    pid: 33,
    endsAt: more.endsAt ?? 2.5 * SECOND,
  });
  return { ...evidence, reading: { ...evidence.reading, sessions } };
}

describe('checks that count what they look at', () => {
  test('all of them have something to look at where nothing is wrong, but for what is not there', () => {
    expect(Object.fromEntries(looks(sound()))).toEqual({
      'handlers begun under claims': 1,
      'claims taken over': 0,
      'crashes counted': 0,
      'effects of tasks': 1,
      'writes under locks': 2,
      'messages received': 1,
      'tasks claimed in turn': 1,
      'of transactions, claimed in turn': 0,
      'tasks read past the library': 1,
      'transitions read past the library': 3,
      'tasks of killed workers': 0,
      'samples of the store': 1,
      'times of rest': 1,
    });
    const { orders: _, ...none } = sound();
    expect(looks(none).map(([name]) => name)).not.toContain('of transactions, claimed in turn');
  });

  test('who looked at nothing is refused', () => {
    expect(
      unlooked([
        ['a', 1],
        ['b', 0],
      ]),
    ).toEqual([{ invariant: 'amounts', what: 'nothing was looked at: b' }]);
  });

  test('T3: a handler begins without a claim, or elsewhere than its claim; a task is completed by nobody', () => {
    expect(begunUnderClaims(sound())).toEqual({ looked: 1, problems: [] });
    expect(told(begunUnderClaims(with_({}, [at(120, 'x', begin('a', { token: 999 }))])))).toEqual([
      'it began in x under token 999 of no claim',
    ]);
    expect(told(begunUnderClaims(with_({}, [at(120, 'y', begin('a'))])))).toEqual([
      'claimed by x, it began in y',
    ]);
    const entries = sound().entries.filter(({ e }) => e !== 'begin');
    expect(told(begunUnderClaims({ ...sound(), entries }))).toEqual(['completed, but nobody began it']);
  });

  test('T3: what goes on under the claim of the same process was begun before', () => {
    const last = [step('b', 'claimed', 'completed', { at: 4 * SECOND, attempt: 1, token: 22 })];
    expect(begunUnderClaims(takenOver({ last }))).toEqual({ looked: 2, problems: [] });
  });

  test('T6: what a living session has begun is taken over', () => {
    expect(takenOverFromTheDead(takenOver({}))).toEqual({ looked: 1, problems: [] });
    expect(told(takenOverFromTheDead(takenOver({ endsAt: 3.1 * SECOND })))).toEqual([
      'taken over although session 3 lived and had begun it',
    ]);
  });

  test('T6: what has not begun may be stolen', () => {
    const stolen = takenOver({ endsAt: 3.1 * SECOND });
    const entries = stolen.entries.filter((entry) => entry.e !== 'begin' || entry.token !== 21);
    expect(takenOverFromTheDead({ ...stolen, entries })).toEqual({ looked: 1, problems: [] });
  });

  test('T6: a session that the store does not know loses a claim', () => {
    const evidence = takenOver({});
    const reading = { ...evidence.reading, sessions: new Map() };
    expect(told(takenOverFromTheDead({ ...evidence, reading }))).toEqual([
      'taken over from session 3, which nobody knows',
    ]);
  });

  test('T5: a crash that is not counted, or counted twice', () => {
    expect(crashesCounted(takenOver({}))).toEqual({ looked: 1, problems: [] });
    expect(told(crashesCounted(takenOver({ crashes: 0 })))).toEqual(['0 crashes are counted, there were 1']);
    expect(told(crashesCounted(takenOver({ crashes: 2 })))).toEqual(['2 crashes are counted, there were 1']);
  });

  test('T5: a crash of what a killed process had not even noted', () => {
    const evidence = { ...takenOver({ crashes: 0 }), entries: sound().entries };
    expect(crashesCounted(evidence)).toEqual({ looked: 0, problems: [] });
    const faults = [kill('x', 120, { at: 2.4 * SECOND, tasks: ['b'] })];
    expect(told(crashesCounted({ ...evidence, faults }))).toEqual(['0 crashes are counted, there were 1']);
    const others = [kill('y', 120, { at: 2.4 * SECOND, session: 4, tasks: ['b'] })];
    expect(told(crashesCounted({ ...evidence, faults: others }))).toEqual([]);
  });

  test('T5: what first began after it was taken over did not crash', () => {
    const last = [step('b', 'claimed', 'completed', { at: 4 * SECOND, attempt: 1, token: 22 })];
    const evidence = takenOver({ last, crashes: 0 });
    const entries = [...sound().entries, at(140, 'y', begin('b', { token: 22 }))];
    expect(crashesCounted({ ...evidence, entries })).toEqual({ looked: 0, problems: [] });
  });

  test('T5: what is taken over from one dead session after another crashed once', () => {
    const again = [
      step('b', 'claimed', 'claimed', { at: 4 * SECOND, attempt: 1, token: 23, session: 5 }),
      step('b', 'claimed', 'completed', { at: 5 * SECOND, attempt: 1, token: 23 }),
    ];
    expect(crashesCounted(takenOver({ last: again }))).toEqual({ looked: 1, problems: [] });
    expect(told(crashesCounted(takenOver({ last: again, crashes: 2 })))).toHaveLength(1);
  });

  test('T5: an attempt that is not counted, is left out, or is taken back although its session lived', () => {
    expect(told(crashesCounted(takenOver({ attempt: 2 })))).toEqual(['attempt 2 follows 0']);
    const { tasks, ...evidence } = takenOver({});
    const wrong = new Map(tasks).set('b', task('b', { type: 'flaky', n: 2, crashes: 1, attempt: 3 }));
    expect(told(crashesCounted({ ...evidence, tasks: wrong }))).toEqual([
      '3 attempts are counted, its last was 1',
    ]);
    const back = [
      step('b', 'new', 'ready', { at: SECOND }),
      step('b', 'ready', 'claimed', { at: 2 * SECOND, attempt: 1, token: 21, session: 3 }),
      step('b', 'claimed', 'ready', { at: 3 * SECOND, attempt: 0, token: 21, session: 3 }),
    ];
    const begun = with_(second({ attempt: 0 }, back), [at(120, 'x', begin('b', { token: 21 }))]);
    expect(told(crashesCounted(begun))).toEqual(['attempt 1 ran, and was not counted']);
    expect(told(crashesCounted(with_(second({ attempt: 0 }, back))))).toEqual([]);
  });

  test('T4: an effect under a token that nobody ran, by somebody else, or once more', () => {
    const effects = (...rows: Evidence['effects']): string[] =>
      told(effectsOwned({ ...sound(), effects: rows }));
    expect(effectsOwned(sound())).toEqual({ looked: 1, problems: [] });
    expect(effects({ task: 'a', token: 5, p: 'x' })).toEqual(['an effect under token 5, which nobody ran']);
    expect(effects({ task: 'a', token: 11, p: 'y' })).toEqual(['an effect by y under the token of x']);
    expect(effects({ task: 'a', token: 11, p: 'x' }, { task: 'a', token: 11, p: 'x' })).toEqual([
      'one run did its effect again, under token 11',
    ]);
  });

  test('T4: a run that goes on under another claim of its process does its effect under either, and no other process does', () => {
    const last = [step('b', 'claimed', 'completed', { at: 4 * SECOND, attempt: 1, token: 22 })];
    const evidence = takenOver({ last });
    const sessions = new Map(evidence.reading.sessions).set(4, { pid: 33, endsAt: 9 * SECOND });
    const own = { ...evidence, reading: { ...evidence.reading, sessions } };
    for (const token of [21, 22])
      expect(told(effectsOwned({ ...own, effects: [{ task: 'b', token, p: 'x' }] }))).toEqual([]);
    expect(told(effectsOwned({ ...evidence, effects: [{ task: 'b', token: 22, p: 'x' }] }))).toHaveLength(1);
    const child = new Map(evidence.tasks).set('b', task('b', { n: 2, crashes: 1 }));
    const whole = { tasks: child, effects: [...evidence.effects, { task: 'b', token: 21, p: 'x' }] };
    expect(effectsOnce({ ...own, ...whole })).toEqual([]);
    expect(effectsOnce({ ...evidence, ...whole })).toHaveLength(1);
  });

  test('L2: a write under a token that its writer never had', () => {
    expect(writesGranted(sound())).toEqual({ looked: 2, problems: [] });
    const writes = [...sound().writes, { resource: 'r', token: 61, p: 'x' }];
    expect(told(writesGranted({ ...sound(), writes }))).toEqual([
      'x wrote under token 61, which it never had',
    ]);
    const upgraded = [
      at(5_000, 'y', { e: 'ask', n: 8, resource: 'q', mode: 'shared' }),
      at(5_001, 'y', { e: 'got', n: 8, token: 70 }),
      at(5_002, 'y', { e: 'upgraded', n: 8, token: 71 }),
    ];
    const own = { writes: [70, 71].map((token) => ({ resource: 'q', token, p: 'y' })) };
    expect(told(writesGranted(with_(own, upgraded)))).toEqual([]);
  });

  describe('M1: messages', () => {
    const received = (t: number, p: string, n: number, redelivered: boolean, to = 'box') =>
      at(t, p, { e: 'received', from: 'w', to, n, redelivered });

    test('one that nobody sent, sent to somewhere else, or before it was sent', () => {
      const odd = [
        received(310, 'y', 8, false),
        received(311, 'y', 7, false, 'box-2'),
        received(299, 'y', 7, false),
      ];
      expect(odd.map((one) => told(receiptsCaused(with_({}, [one]))))).toEqual([
        ['8 was sent by nobody'],
        ['7 was sent by nobody'],
        expect.arrayContaining(['7 came before it was sent']),
      ]);
    });

    test('one that comes again without a cause', () => {
      expect(told(receiptsCaused(with_({}, [received(400, 'x', 7, true)])))).toEqual([
        '7 came again, for no cause',
      ]);
      const first = sound().entries.filter(({ e }) => e !== 'received');
      const entries = [...first, received(400, 'x', 7, true)];
      expect(told(receiptsCaused({ ...sound(), entries }))).toEqual(['7 came again, for no cause']);
    });

    test.each<[string, Fault]>([
      ['its receiver is killed', kill('x', 350)],
      ['who had the place before is killed', kill('x.1', 350)],
      ['a reply to its receiver is lost', { f: 'cut', p: 'x', t: 340, until: 350 }],
      ['its receiver is paused', { f: 'freeze', p: 'x', t: 200, until: 350 }],
      ['the store is away', { f: 'server', p: '*', t: 340, until: 390 }],
    ])('again, for %s', (_, fault) => {
      expect(told(receiptsCaused(with_({ faults: [fault] }, [received(400, 'x', 7, true)])))).toEqual([]);
    });

    test.each<[string, Fault]>([
      ['somebody else is killed', kill('y', 350)],
      ['that was afterwards', kill('x', 401)],
      ['that was long before', { f: 'cut', p: 'x', t: -900, until: -800 }],
      ['a clock is no cause', { f: 'clock', p: 'x', t: 350, byMs: 1 }],
    ])('not again: %s', (_, fault) => {
      const again = with_({ faults: [fault] }, [received(400, 'x', 7, true)]);
      expect(told(receiptsCaused(again))).toHaveLength(1);
    });

    test('again, for the session of its receiver ended', () => {
      const evidence = with_({}, [received(400, 'x', 7, true)]);
      const sessions = new Map([[3, { pid: 33, endsAt: 1_350_000 }]]);
      expect(told(receiptsCaused({ ...evidence, reading: { ...evidence.reading, sessions } }))).toEqual([]);
    });
  });

  describe('T7: submitted in a transaction of the caller', () => {
    /** Ready at 1 s, committed as it is noted, claimed at 30 s; a later task of the same priority is claimed at 20 s. */
    function passed(notedAt?: number): Evidence {
      const steps = [
        step('b', 'new', 'ready', { at: SECOND }),
        step('b', 'ready', 'claimed', { at: 30 * SECOND, attempt: 1, token: 21, session: 3 }),
      ];
      const order = second({ type: 'order' }, steps);
      const history = (order.history ?? []).map((one) =>
        one.task === 'a'
          ? { ...one, at: ((one.from === 'new' ? 15 : 20) * SECOND) as Transition['at'] }
          : one,
      );
      const noted = notedAt === undefined ? [] : [at(notedAt, 'w', { e: 'submitted', n: 2, task: 'b' })];
      return with_({ ...order, history }, noted);
    }

    test('it is overtaken after its commit', () => {
      expect(told(notStarved(passed(2_000)))).toEqual(['overtaken by a']);
      expect(ordersNotStarved(passed(2_000))).toEqual({ looked: 1, problems: [] });
    });

    test('what was committed later, or at a time nobody knows, may be', () => {
      expect(told(notStarved(passed(25_000)))).toEqual([]);
      expect(told(notStarved(passed()))).toEqual([]);
      expect(ordersNotStarved(passed())).toEqual({ looked: 0, problems: [] });
    });
  });

  test('T1: a task that was committed in a transaction of the caller is not there', () => {
    const commit = [
      at(400, 'w', { e: 'submit', n: 9, kind: 'order', task: 'o', rolledBack: false }),
      at(401, 'w', { e: 'submitted', n: 9, task: 'o' }),
    ];
    const problems = checkAll(with_({ orders: new Set() }, commit));
    expect(problems).toContainEqual(expect.objectContaining({ invariant: 'T1', about: 'o' }));
  });

  test('T2: one key is two tasks in the store, although one answer was lost', () => {
    const { tasks } = sound();
    const twice = new Map(
      [...tasks, ['b', task('b', { n: 2 })] as const].map(([id, one]) => [id, { ...one, key: 'k' }]),
    );
    expect(keysNameOneTask({ ...sound(), tasks: twice }).map(({ invariant }) => invariant)).toEqual(['T2']);
  });

  test('T4: its submitter hears of a failure, the store has a result', () => {
    const heard = (as: string): Problem[] =>
      outcomesTrue(with_({}, [at(400, 'w', { e: 'outcome', task: 'a', as })]));
    expect(heard('TASK_FAILED').map(({ what }) => what)).toEqual([
      'its submitter heard TASK_FAILED, it is completed',
    ]);
    expect(heard('completed')).toEqual([]);
    expect(heard('BACKEND_UNAVAILABLE')).toEqual([]);
  });

  describe('read past the library', () => {
    const reread = (change: Partial<Reading>): Evidence => ({
      ...sound(),
      reading: { ...sound().reading, ...change },
    });

    test('the same', () => {
      expect(tasksAsStored(sound())).toEqual({ looked: 1, problems: [] });
      expect(historyAsStored(sound())).toEqual({ looked: 3, problems: [] });
    });

    test('T1, T9: another state, another count, a task more, a task less', () => {
      const row = { state: 'completed', attempt: 1, crashes: 0 } as const;
      const tasks = (rows: Record<string, TaskRow>): string[] =>
        told(tasksAsStored(reread({ tasks: new Map(Object.entries(rows)) })));
      expect(tasks({ a: row })).toEqual([]);
      expect(tasks({ a: { ...row, crashes: 1 } })).toEqual([
        'the library says completed, 1 attempts, 0 crashes, the store completed, 1 attempts, 1 crashes',
      ]);
      expect(tasks({ a: { ...row, attempt: 2 } })).toHaveLength(1);
      expect(tasks({ a: { ...row, state: 'ready' } })).toEqual([
        'the library says completed, 1 attempts, 0 crashes, the store ready, 1 attempts, 0 crashes',
        '1 counted as completed, 0 stored',
        '0 counted as ready, 1 stored',
      ]);
      expect(tasks({ a: row, b: row })).toHaveLength(2);
      expect(tasks({})).toHaveLength(2);
    });

    test('history: a step more, a step less, another step', () => {
      const { history } = sound();
      const steps = (list: readonly Transition[]): string[] =>
        told(historyAsStored(reread({ history: list })));
      expect(steps(history.slice(0, 2))).toHaveLength(1);
      expect(steps([...history, step('b', 'new', 'ready')])).toHaveLength(1);
      expect(steps([...history].toReversed())).toHaveLength(1);
      for (const field of ['at', 'attempt', 'token', 'session'] as const) {
        const other = history.map((one, i) => (i === 1 ? { ...one, [field]: 7 } : one));
        expect(steps(other)).toHaveLength(1);
      }
    });
  });
});

describe('what is no violation', () => {
  test('M1: a message that comes again and says so', () => {
    const again = at(400, 'x', { e: 'received', from: 'w', to: 'box', n: 7, redelivered: true });
    expect(checkAll(with_({ faults: [kill('x', 350)] }, [again]))).toEqual([]);
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

describe('less was done than was meant to be', () => {
  const { rounds, killEveryMs: _, ...each } = QUICK;
  const whole: Tally = { ...each, poison: 0 };
  for (const what of Object.keys(each) as (keyof typeof each)[]) whole[what] = rounds * each[what];

  test('all of it was done', () => {
    expect(tooFew(whole, QUICK)).toEqual([]);
  });

  test.each(['kills', 'freezes', 'partitions', 'servers', 'clocks'] as const)(
    'one of the %s is missing',
    (what) => {
      const meant = whole[what];
      expect(tooFew({ ...whole, [what]: meant - 1 }, QUICK)).toEqual([
        { invariant: 'amounts', what: `${meant - 1} ${what}, meant were ${meant}` },
      ]);
    },
  );

  test('a tenth of the lost replies may be missing, and no more', () => {
    const least = rounds * Math.floor(each.cuts * 0.9);
    expect(tooFew({ ...whole, cuts: least }, QUICK)).toEqual([]);
    expect(tooFew({ ...whole, cuts: least - 1 }, QUICK)).toHaveLength(1);
  });

  test('a process that a task killed counts for none that was to be killed', () => {
    expect(tooFew({ ...whole, poison: 1 }, QUICK)).toHaveLength(1);
    expect(tooFew({ ...whole, kills: whole.kills + 1, poison: 1 }, QUICK)).toEqual([]);
  });
});
