import { describe, expect, test, vi } from 'vitest';
import { TimerWheel } from '../../src/core/runtime/timer-wheel.ts';

describe('the timer wheel', () => {
  test('fires at the due ms, not before; a fraction is rounded up', () => {
    const wheel = new TimerWheel(0.7);
    const fn = vi.fn();
    wheel.add(10.2, fn, false);
    expect(wheel.nextDue()).toBe(11);
    wheel.advance(10.99);
    expect(fn).not.toHaveBeenCalled();
    wheel.advance(11);
    expect(fn).toHaveBeenCalledTimes(1);
  });

  test('a due time in the past fires at the next ms', () => {
    const wheel = new TimerWheel(100);
    const fn = vi.fn();
    wheel.add(-5, fn, false);
    wheel.advance(100);
    expect(fn).not.toHaveBeenCalled();
    wheel.advance(101);
    expect(fn).toHaveBeenCalledTimes(1);
  });

  test('one big step fires in order of time, over all levels', () => {
    const wheel = new TimerWheel(0);
    const fired: number[] = [];
    for (const due of [5_000_000, 64, 1, 4_096, 63, 300_000, 65])
      wheel.add(due, () => fired.push(due), false);
    wheel.advance(6_000_000);
    expect(fired).toEqual([1, 63, 64, 65, 4_096, 300_000, 5_000_000]);
  });

  test('beyond its reach a timer waits in the last slot and is placed again', () => {
    const wheel = new TimerWheel(0);
    const fn = vi.fn();
    const due = 2 ** 33;
    wheel.add(due, fn, false);
    wheel.advance(due - 1);
    expect(fn).not.toHaveBeenCalled();
    wheel.advance(due);
    expect(fn).toHaveBeenCalledTimes(1);
    expect(wheel.nextDue()).toBe(Number.POSITIVE_INFINITY);
  });

  test('a callback may cancel a timer of the same ms, itself, and add one that is due within the step', () => {
    const wheel = new TimerWheel(0);
    const fired: string[] = [];
    const own = wheel.add(
      5,
      () => {
        fired.push('a');
        own.cancel();
        other.cancel();
        wheel.add(6, () => fired.push('added'), false);
      },
      false,
    );
    const other = wheel.add(5, () => fired.push('cancelled'), false);
    wheel.advance(6);
    expect(fired).toEqual(['a', 'added']);
  });

  test('a callback that throws stops neither the wheel nor the others, and is not swallowed', () => {
    const wheel = new TimerWheel(0);
    const thrown: unknown[] = [];
    const microtask = vi.spyOn(globalThis, 'queueMicrotask').mockImplementation((fn) => {
      try {
        fn();
      } catch (error) {
        thrown.push(error);
      }
    });
    const next = vi.fn();
    wheel.add(
      1,
      () => {
        throw new Error('timer');
      },
      true,
    );
    wheel.add(1, next, false);
    wheel.add(2, next, false);
    wheel.advance(2);
    microtask.mockRestore();
    expect(next).toHaveBeenCalledTimes(2);
    expect(thrown).toEqual([new Error('timer')]);
    expect(wheel.keeping).toBe(0);
  });

  test('keeping counts pending timers that hold the process, once each', () => {
    const wheel = new TimerWheel(0);
    const one = wheel.add(5, () => undefined, true);
    wheel.add(6, () => undefined, true);
    wheel.add(7, () => undefined, false);
    expect(wheel.keeping).toBe(2);
    one.cancel();
    one.cancel();
    expect(wheel.keeping).toBe(1);
    wheel.advance(10);
    expect(wheel.keeping).toBe(0);
  });
});
