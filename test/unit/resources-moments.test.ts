import { expect, test } from 'vitest';
import { Moments } from '../../src/resources/moment.ts';

/** A clock whose time passes inside a turn of the loop too. */
function busyClock() {
  let now = 0;
  let turned: (() => void)[] = [];
  return {
    pass: (ms: number) => void (now += ms),
    turn: () => {
      const due = turned;
      turned = [];
      for (const fn of due) fn();
      return due.length;
    },
    mono: () => now,
    wall: () => now,
    after: () => ({ cancel: () => undefined }),
    soon: (fn: () => void) => void turned.push(fn),
  };
}

test('what begins after long work in one turn never counts as begun before it did', () => {
  const clock = busyClock();
  const moments = new Moments(clock);
  const first = moments.begin();
  clock.pass(1_000);
  const second = moments.begin();
  expect(second.ms).toBe(1_000);
  clock.pass(5);
  clock.turn();
  clock.pass(500);
  expect(second.ms).toBe(1_005);
  expect(first.ms).toBe(1_005);
});

test('another turn is another moment, and one turn is told of its end once', () => {
  const clock = busyClock();
  const moments = new Moments(clock);
  const first = moments.begin();
  moments.begin();
  expect(clock.turn()).toBe(1);
  clock.pass(10);
  const second = moments.begin();
  clock.pass(10);
  expect(clock.turn()).toBe(1);
  clock.pass(10);
  expect([first.ms, second.ms]).toEqual([0, 20]);
});

test('so many share a moment and no more: a long turn makes none of them late by all of it', () => {
  const clock = busyClock();
  const moments = new Moments(clock);
  const began = Array.from({ length: 200 }, () => {
    clock.pass(1);
    return { at: clock.mono(), moment: moments.begin() };
  });
  clock.pass(10_000);
  clock.turn();
  for (const { at, moment } of began.slice(0, 128)) {
    expect(moment.ms).toBeGreaterThanOrEqual(at);
    expect(moment.ms - at).toBeLessThanOrEqual(64);
  }
});
