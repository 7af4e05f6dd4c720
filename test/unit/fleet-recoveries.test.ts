import { expect, test } from 'vitest';
import { recoveries, type Wreck } from '../../examples/fleet/recoveries.ts';
import type { TaskState, Transition } from '../../src/core/ports/tasks.ts';
import type { BackendTime, SessionNumber, Token } from '../../src/core/ports/words.ts';

const [KILLED, TAKER, OTHER] = [1, 2, 3] as SessionNumber[] as [SessionNumber, SessionNumber, SessionNumber];

/** A step of the task, at so many ms. */
function step(ms: number, from: TaskState, to: TaskState, session: SessionNumber): Transition {
  return { task: 'a', at: (ms * 1_000) as BackendTime, from, to, attempt: 1, token: ms as Token, session };
}

const wreck: Wreck = { at: 1_000_000 as BackendTime, session: KILLED, tasks: ['a'] };
const began = step(900, 'ready', 'claimed', KILLED);

test('T6: a task of a killed worker counts from the kill until it is claimed again', () => {
  const history = [
    began,
    step(2_900, 'claimed', 'claimed', TAKER),
    step(2_910, 'claimed', 'ready', TAKER),
    step(2_950, 'ready', 'claimed', OTHER),
    step(5_000, 'ready', 'claimed', TAKER),
  ];
  expect(recoveries([wreck], new Set([KILLED]), history)).toEqual([1_950]);
  // Whoever gave it on, or runs it, may fall after that.
  expect(recoveries([wreck], new Set([KILLED, TAKER, OTHER]), history)).toEqual([1_950]);
});

test('T6: where its taker fell before it gave the task on, that fall counts', () => {
  const history = [
    began,
    step(2_900, 'claimed', 'claimed', TAKER),
    step(4_900, 'claimed', 'claimed', OTHER),
    step(4_910, 'claimed', 'ready', OTHER),
    step(4_950, 'ready', 'claimed', OTHER),
  ];
  const taken: Wreck = { at: 2_905_000 as BackendTime, session: TAKER, tasks: ['a'] };
  expect(recoveries([wreck, taken], new Set([KILLED, TAKER]), history)).toEqual([2_045]);
  // Nobody harmed the taker: then it is late.
  expect(recoveries([wreck], new Set([KILLED]), history)).toEqual([3_950]);
});

test('a task that ended in spite of the kill counts for nothing', () => {
  expect(
    recoveries([wreck], new Set([KILLED]), [began, step(1_001, 'claimed', 'completed', KILLED)]),
  ).toEqual([]);
});
