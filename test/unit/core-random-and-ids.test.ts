import { describe, expect, test } from 'vitest';
import type { Clock } from '../../src/core/ports/runtime.ts';
import { createIds } from '../../src/core/runtime/ids.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { createRuntime, systemClock } from '../../src/core/runtime/runtime.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';

describe('seeded randomness', () => {
  const take = (seed: number | string, n: number): number[] => {
    const random = createRandom(seed);
    return Array.from({ length: n }, () => random.next());
  };

  test('the same seed gives the same run, another seed another', () => {
    expect(take(42, 100)).toEqual(take(42, 100));
    expect(take(42, 100)).not.toEqual(take(43, 100));
    expect(take('a', 5)).not.toEqual(take('b', 5));
  });

  test('values are in [0, 1) and spread evenly', () => {
    const buckets = new Array<number>(10).fill(0);
    for (const value of take(7, 100_000)) {
      expect(value >= 0 && value < 1).toBe(true);
      const bucket = Math.floor(value * 10);
      buckets[bucket] = (buckets[bucket] as number) + 1;
    }
    // 10,000 ± 5 standard deviations of a binomial (σ ≈ 95).
    for (const count of buckets) expect(Math.abs(count - 10_000)).toBeLessThan(475);
  });

  test('a fork depends on its label only, not on what was drawn or forked before', () => {
    const one = createRandom(1);
    const other = createRandom(1);
    other.next();
    other.fork('b');
    expect(one.fork('a').next()).toBe(other.fork('a').next());
    expect(one.fork('a').next()).not.toBe(one.fork('b').next());
  });
});

describe('ids', () => {
  const UUID7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
  const clockAt = (wall: () => number): Clock => ({ ...createTestClock(), wall });

  test('they are UUIDv7 with the wall time in front', () => {
    const ids = createIds(
      clockAt(() => 0x0123456789ab),
      createRandom(1),
    );
    const id = ids.next();
    expect(id).toMatch(UUID7);
    expect(id.startsWith('01234567-89ab-7')).toBe(true);
  });

  test.each([
    ['stands still', () => 1_700_000_000_000],
    ['is 0', () => 0],
    ['is fractional', () => 1_700_000_000_000.5],
  ])('they are strictly increasing and well formed when the wall clock %s', (_, wall) => {
    const ids = createIds(clockAt(wall), createRandom(1));
    let last = '';
    for (let i = 0; i < 10_000; i++) {
      const id = ids.next();
      if (i % 100 === 0) expect(id).toMatch(UUID7);
      expect(id > last).toBe(true);
      last = id;
    }
  });

  test('they are strictly increasing when the wall clock jumps back and forth', () => {
    const random = createRandom(5);
    let now = 1_700_000_000_000;
    const ids = createIds(
      clockAt(() => (now += Math.floor(random.next() * 2_001) - 1_000)),
      createRandom(1),
    );
    let last = '';
    for (let i = 0; i < 20_000; i++) {
      const id = ids.next();
      expect(id > last).toBe(true);
      last = id;
    }
  });

  test('they are strictly increasing when the counter of one ms overflows', () => {
    // Four draws a ms: the first is where the counter starts; a value out of range puts it next to its end.
    let draws = 0;
    const ids = createIds(
      clockAt(() => 1_700_000_000_000),
      { next: () => (draws++ % 4 === 0 ? 1.999_999_9 : 0.5), fork: () => createRandom(1) },
    );
    let last = '';
    for (let i = 0; i < 1_000; i++) {
      const id = ids.next();
      expect(id).toMatch(UUID7);
      expect(id > last).toBe(true);
      last = id;
    }
    expect(last.startsWith('018bcfe5-6804-7')).toBe(true);
  });

  test('two processes in the same ms differ', () => {
    const wall = (): number => 1_700_000_000_000;
    const seen = new Set<string>();
    for (const seed of [1, 2]) {
      const ids = createIds(clockAt(wall), createRandom(seed));
      for (let i = 0; i < 1_000; i++) seen.add(ids.next());
    }
    expect(seen.size).toBe(2_000);
  });
});

describe('the runtime', () => {
  test('fills in the real parts', () => {
    const runtime = createRuntime();
    expect(runtime.clock).toBe(systemClock());
    expect(runtime.ids.next()).not.toBe(runtime.ids.next());
    expect(runtime.random.next()).not.toBe(createRuntime().random.next());
    expect(() => runtime.logger.error('nobody hears this')).not.toThrow();
  });

  test('takes what it is given, and ids follow the given clock and seed', () => {
    const make = (): string =>
      createRuntime({ clock: createTestClock(), random: createRandom(3) }).ids.next();
    expect(make()).toBe(make());
  });
});
