import { expect, test } from 'vitest';
import { NO_RUNS, TaskHistory } from '../../src/scheduler/task-history.ts';

test('what never ran: no runs, taken for good', () => {
  const history = new TaskHistory();
  expect(history.of('t', 'a')).toBe(NO_RUNS);
  expect(history.ofType('t')).toEqual({ runs: 0, meanDurationMs: 0, successRatio: 1 });
  expect(history.lastAgent('t')).toBeUndefined();
});

test('by type over all agents, and with each agent', () => {
  const history = new TaskHistory();
  history.record('t', 'a', true, 10);
  history.record('t', 'b', false, 30);
  history.record('u', 'a', true, 5);
  expect(history.ofType('t')).toMatchObject({
    runs: 2,
    meanDurationMs: 20,
    successRatio: 0.5,
    lastAgent: 'b',
  });
  expect(history.of('t', 'b')).toMatchObject({ runs: 1, meanDurationMs: 30, successRatio: 0 });
  expect([history.lastAgent('t'), history.size, [...history.types.keys()]]).toEqual(['b', 3, ['t', 'u']]);
});

test('after ten runs each new one weighs a tenth', () => {
  const history = new TaskHistory();
  for (let i = 0; i < 10; i++) history.record('t', 'a', true, 100);
  history.record('t', 'a', false, 0);
  expect(history.of('t', 'a').meanDurationMs).toBeCloseTo(90, 9);
  expect(history.of('t', 'a').successRatio).toBeCloseTo(0.9, 9);
});

test('forgets the longest unused pair, and a type with its last pair', () => {
  const history = new TaskHistory(2);
  history.record('t', 'a', true, 1);
  history.record('u', 'a', true, 1);
  history.record('t', 'a', true, 1);
  history.record('u', 'b', true, 1);
  expect([history.of('u', 'a').runs, history.of('t', 'a').runs, history.of('u', 'b').runs]).toEqual([
    0, 2, 1,
  ]);
  history.record('v', 'c', true, 1);
  expect([...history.types.keys()]).toEqual(['u', 'v']);
  expect(history.size).toBe(2);
});

test.each([Number.NaN, Number.POSITIVE_INFINITY, -1])('a duration of %s counts as 0', (ms) => {
  const history = new TaskHistory();
  history.record('t', 'a', true, 8);
  history.record('t', 'a', true, ms);
  expect(history.of('t', 'a').meanDurationMs).toBe(4);
});

test('ids are only keys, whatever they are', () => {
  const history = new TaskHistory();
  for (const id of ['__proto__', 'constructor', 'toString', '']) history.record(id, id, true, 1);
  expect(history.of('__proto__', '__proto__').runs).toBe(1);
  expect(history.of('hasOwnProperty', 'x').runs).toBe(0);
});
