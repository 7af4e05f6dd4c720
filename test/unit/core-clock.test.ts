import { spawnSync } from 'node:child_process';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createClock } from '../../src/core/runtime/clock.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';

describe('the real clock', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance', 'Date', 'setImmediate'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  test('fires after the delay, never before', () => {
    const clock = createClock();
    const fn = vi.fn();
    clock.after(10, fn);
    vi.advanceTimersByTime(9);
    expect(fn).not.toHaveBeenCalled();
    vi.advanceTimersByTime(2);
    expect(fn).toHaveBeenCalledTimes(1);
  });

  test.each([[Number.NaN], [-1], [0], [Number.NEGATIVE_INFINITY]])(
    'a delay of %s fires at the next ms',
    (delay) => {
      const clock = createClock();
      const fn = vi.fn();
      clock.after(delay, fn);
      expect(fn).not.toHaveBeenCalled();
      vi.advanceTimersByTime(2);
      expect(fn).toHaveBeenCalledTimes(1);
    },
  );

  test.each([[2 ** 31 - 1], [2 ** 31], [2 ** 31 + 5], [2 ** 33]])(
    'a delay of %s ms is waited for in full',
    (delay) => {
      const clock = createClock();
      const fn = vi.fn();
      clock.after(delay, fn);
      vi.advanceTimersByTime(delay - 1);
      expect(fn).not.toHaveBeenCalled();
      vi.advanceTimersByTime(2);
      expect(fn).toHaveBeenCalledTimes(1);
    },
  );

  test('no native timer is longer than 2^31 - 1 ms, which would fire at once', () => {
    // No spy: it would be restored after the real timers are, and put the fake ones in their place for the next file.
    const fake = globalThis.setTimeout;
    const delays: number[] = [];
    const noting = (fn: () => void, ms = 0): NodeJS.Timeout => {
      delays.push(ms);
      return fake(fn, ms);
    };
    const wanted = [2 ** 31 - 1, 2 ** 31, 2 ** 40, Number.MAX_SAFE_INTEGER];
    globalThis.setTimeout = noting as typeof setTimeout;
    try {
      for (const delay of wanted) createClock().after(delay, () => undefined);
    } finally {
      globalThis.setTimeout = fake;
    }
    expect(delays).toHaveLength(wanted.length);
    expect(Math.max(...delays)).toBeLessThan(2 ** 31);
    expect(Math.max(...delays)).toBeGreaterThan(24 * 3_600_000);
  });

  test('an infinite delay never fires and can be cancelled', () => {
    const clock = createClock();
    const fn = vi.fn();
    const timer = clock.after(Number.POSITIVE_INFINITY, fn);
    vi.advanceTimersByTime(2 ** 31);
    timer.cancel();
    expect(fn).not.toHaveBeenCalled();
  });

  test('a later timer does not delay an earlier one, and the other way round', () => {
    const clock = createClock();
    const fired: number[] = [];
    for (const delay of [50, 10, 30, 70]) clock.after(delay, () => fired.push(delay));
    vi.advanceTimersByTime(100);
    expect(fired).toEqual([10, 30, 50, 70]);
  });

  test('all timers share one native one', () => {
    const clock = createClock();
    for (let i = 0; i < 1_000; i++) clock.after(100 + i, () => undefined);
    expect(vi.getTimerCount()).toBe(1);
  });

  test('soon runs in a later turn', () => {
    const clock = createClock();
    const fn = vi.fn();
    clock.soon(fn);
    expect(fn).not.toHaveBeenCalled();
    vi.runAllTimers();
    expect(fn).toHaveBeenCalledTimes(1);
  });

  test('wall is the wall clock', () => {
    vi.setSystemTime(1_234_567);
    expect(createClock().wall()).toBe(1_234_567);
  });
});

describe('holding the process (G6)', () => {
  /** Runs a program with the clock in a process of its own; it must end by itself. */
  function run(program: string): { readonly out: string; readonly ms: number } {
    const from = performance.now();
    const clock = new URL('../../src/core/runtime/clock.ts', import.meta.url).href;
    const script = `import { createClock } from ${JSON.stringify(clock)}; const clock = createClock(); ${program}`;
    const child = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      encoding: 'utf8',
      timeout: 15_000,
    });
    expect(child.stderr).toBe('');
    expect(child.status).toBe(0);
    return { out: child.stdout, ms: performance.now() - from };
  }

  test.each([
    ['a timer does not hold it', `clock.after(10_000, () => console.log('fired'));`, ''],
    ['a keepAlive timer does', `clock.after(50, () => console.log('fired'), true);`, 'fired\n'],
    [
      'a cancelled keepAlive timer does not',
      `const lazy = clock.after(9_000, () => undefined); clock.after(10_000, () => console.log('fired'), true).cancel();`,
      '',
    ],
    [
      'a keepAlive timer that has fired does not, with others pending',
      `clock.after(10_000, () => console.log('late')); clock.after(20, () => console.log('fired'), true);`,
      'fired\n',
    ],
    [
      'a keepAlive timer behind an earlier one that does not hold',
      `clock.after(10, () => console.log('one')); clock.after(60, () => console.log('two'), true);`,
      'one\ntwo\n',
    ],
  ])('G6: %s', (_, program, out) => {
    const ended = run(program);
    expect(ended.out).toBe(out);
    expect(ended.ms).toBeLessThan(8_000);
  });
});

describe('the test clock', () => {
  test('stands still until told, and fires each timer at its own time', async () => {
    const clock = createTestClock(0);
    const at: number[] = [];
    for (const delay of [30, 10, 20]) clock.after(delay, () => at.push(clock.mono(), clock.wall()));
    await clock.settle();
    expect(at).toEqual([]);
    await clock.advance(25);
    expect(at).toEqual([10, 10, 20, 20]);
    clock.tick(5);
    expect(at).toEqual([10, 10, 20, 20, 30, 30]);
    expect(clock.mono()).toBe(30);
  });

  test('advance lets promises settle between two timers, tick does not', async () => {
    const clock = createTestClock();
    const order: string[] = [];
    const chain = async (): Promise<void> => {
      await new Promise<void>((resolve) => clock.after(1, resolve));
      order.push('first');
      await new Promise<void>((resolve) => clock.after(1, resolve));
      order.push('second');
    };
    const running = chain();
    clock.after(2, () => order.push('two'));
    await clock.advance(2);
    expect(order).toEqual(['first', 'two', 'second']);
    await running;
  });
});
