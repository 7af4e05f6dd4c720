import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Histogram, RELATIVE_ERROR } from '../../src/metrics/histogram.ts';
import { RateMeter } from '../../src/metrics/rate-meter.ts';
import { SampleRing } from '../../src/metrics/sample-ring.ts';
import { CounterFamily, OTHER, SeriesLimits } from '../../src/metrics/series.ts';

/** Durations of all sizes: what is measured is spread over magnitudes, not evenly. */
const values = fc.oneof(
  {
    weight: 6,
    arbitrary: fc
      .tuple(fc.double({ min: 1, max: 2, noNaN: true }), fc.integer({ min: -10, max: 40 }))
      .map(([m, e]) => m * 2 ** e),
  },
  { weight: 3, arbitrary: fc.integer({ min: 0, max: 5_000 }) },
  { weight: 1, arbitrary: fc.integer({ min: -10, max: 41 }).map((e) => 2 ** e) },
);
const many = fc.array(values, { minLength: 1, maxLength: 300 });
const ratios = fc.oneof(
  fc.constantFrom(0.5, 0.9, 0.95, 0.99, 0.999, 1),
  fc.double({ min: 0, max: 1, noNaN: true }),
);

function recorded(all: readonly number[]): Histogram {
  const histogram = new Histogram();
  for (const value of all) histogram.record(value);
  return histogram;
}
const ascending = (all: readonly number[]): number[] => all.toSorted((a, b) => a - b);

describe('histogram', () => {
  test('percentiles are within the bounded relative error of the exact ones', () => {
    fc.assert(
      fc.property(many, ratios, (all, ratio) => {
        const exact = ascending(all)[Math.max(1, Math.ceil(ratio * all.length)) - 1] as number;
        const found = recorded(all).percentile(ratio);
        expect(Math.abs(found - exact)).toBeLessThanOrEqual(Math.max(RELATIVE_ERROR * exact, 2 ** -10));
      }),
    );
  });

  test('count, sum, max and mean are exact', () => {
    fc.assert(
      fc.property(many, (all) => {
        const histogram = recorded(all);
        const sum = all.reduce((a, b) => a + b, 0);
        expect([histogram.count, histogram.max, histogram.sum]).toEqual([all.length, Math.max(...all), sum]);
        expect(histogram.summary().mean).toBe(sum / all.length);
      }),
    );
  });

  test('merging is the same as recording everything in one', () => {
    fc.assert(
      fc.property(fc.array(values, { maxLength: 100 }), fc.array(values, { maxLength: 100 }), (one, two) => {
        const merged = recorded(one);
        merged.merge(recorded(two));
        const whole = recorded([...one, ...two]);
        const { mean: _, ...summary } = merged.summary();
        expect(whole.summary()).toMatchObject(summary);
        // Sums of doubles depend on their order in the last digits.
        expect(Math.abs(merged.sum - whole.sum)).toBeLessThanOrEqual(1e-9 * whole.sum);
        for (let e = -10; e <= 41; e++) expect(merged.countUpTo(2 ** e)).toBe(whole.countUpTo(2 ** e));
      }),
    );
  });

  test('counts up to a power of two are exact, the bound included', () => {
    fc.assert(
      fc.property(many, fc.integer({ min: -10, max: 41 }), (all, exponent) => {
        const bound = 2 ** exponent;
        expect(recorded(all).countUpTo(bound)).toBe(all.filter((value) => value <= bound).length);
      }),
    );
  });

  test('percentiles grow with their ratio and stay between the least and the largest value', () => {
    fc.assert(
      fc.property(many, ratios, ratios, (all, a, b) => {
        const histogram = recorded(all);
        const [low, high] = [histogram.percentile(Math.min(a, b)), histogram.percentile(Math.max(a, b))];
        expect(low).toBeLessThanOrEqual(high);
        expect(low).toBeGreaterThanOrEqual(Math.min(...all));
        expect(high).toBeLessThanOrEqual(Math.max(...all));
      }),
    );
  });

  test.each([
    [Number.NaN, 0],
    [-5, 0],
    [-0, 0],
    [Number.NEGATIVE_INFINITY, 0],
    [Number.POSITIVE_INFINITY, 2 ** 42],
    [Number.MAX_VALUE, 2 ** 42],
    [Number.MIN_VALUE, Number.MIN_VALUE],
  ])('%d is counted as %d', (given, as) => {
    const histogram = recorded([given]);
    expect([histogram.count, histogram.sum, histogram.max]).toEqual([1, as, as]);
    expect(Number.isFinite(histogram.percentile(0.5))).toBe(true);
  });

  test('empty and cleared ones say 0', () => {
    const cleared = recorded([5, 6]);
    cleared.clear();
    for (const histogram of [new Histogram(), cleared]) {
      expect(histogram.summary()).toEqual({ count: 0, mean: 0, p50: 0, p95: 0, p99: 0, max: 0 });
      expect(histogram.countUpTo(2 ** 41)).toBe(0);
    }
  });
});

describe('rate', () => {
  test('at whole seconds it is exactly what happened since a minute before', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 500 }), { minLength: 1, maxLength: 200 }),
        (perSecond) => {
          const meter = new RateMeter();
          let total = 0;
          meter.mark(0, 0);
          perSecond.forEach((happened, i) => {
            total += happened;
            const now = (i + 1) * 1_000;
            meter.mark(now, total);
            const last = perSecond.slice(Math.max(0, i + 1 - 60), i + 1).reduce((a, b) => a + b, 0);
            expect(meter.perMinute(now, total)).toBe(last);
          });
        },
      ),
    );
  });

  test('even growth is met at any moment', () => {
    const moment = fc.integer({ min: 61_000, max: 200_000 });
    fc.assert(
      fc.property(moment, fc.integer({ min: 1, max: 50 }), (now, perMs) => {
        const meter = new RateMeter();
        for (let at = 0; at <= now; at += 1_000) meter.mark(at, at * perMs);
        expect(meter.perMinute(now, now * perMs)).toBe(60_000 * perMs);
      }),
    );
  });

  test('in between, and with late marks, it is within one mark’s growth', () => {
    const steps = fc.array(fc.tuple(fc.integer({ min: 200, max: 4_000 }), fc.integer({ min: 0, max: 300 })), {
      maxLength: 80,
    });
    fc.assert(
      fc.property(steps, (all) => {
        const meter = new RateMeter();
        const log: { at: number; n: number }[] = [];
        let [now, total] = [0, 0];
        meter.mark(0, 0);
        for (const [ms, n] of all) {
          now += ms;
          total += n;
          log.push({ at: now, n });
          meter.mark(now, total);
          const since = (from: number): number =>
            log.reduce((sum, each) => (each.at > from ? sum + each.n : sum), 0);
          const found = meter.perMinute(now, total);
          expect(found).toBeGreaterThanOrEqual(since(now - 55_000));
          expect(found).toBeLessThanOrEqual(since(now - 65_000));
        }
      }),
    );
  });
});

describe('bounds', () => {
  test('a ring keeps the newest samples, within its capacity and the common budget', () => {
    const pushes = fc.array(fc.tuple(fc.nat(2), fc.boolean()), { maxLength: 120 });
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 0, max: 40 }),
        pushes,
        (capacity, left, all) => {
          const budget = { left };
          const rings = [0, 1, 2].map(() => new SampleRing(capacity, budget));
          const logs: { value: number; tags?: { n: string } }[][] = [[], [], []];
          all.forEach(([which, tagged], i) => {
            const tags = tagged ? { n: String(i) } : undefined;
            rings[which]?.push(i, i * 2, tags);
            logs[which]?.push({ value: i * 2, ...(tags === undefined ? {} : { tags }) });
            for (const [r, ring] of rings.entries()) {
              const kept = ring.since('m', 0).map(({ value, tags: found }) => ({
                value,
                ...(found === undefined ? {} : { tags: found }),
              }));
              expect(kept).toEqual(ring.length === 0 ? [] : logs[r]?.slice(-ring.length));
              expect(ring.length).toBeLessThanOrEqual(capacity);
            }
            expect(rings.reduce((sum, ring) => sum + ring.length, 0)).toBeLessThanOrEqual(
              left + rings.length,
            );
          });
          // Without want of room, a ring is as long as it may be.
          if (left >= 3 * capacity) {
            expect(rings.map((ring) => ring.length)).toEqual(
              logs.map((log) => Math.min(log.length, capacity)),
            );
          }
          for (const ring of rings) ring.clear();
          expect(budget.left).toBe(left);
        },
      ),
    );
  });

  test('series are bounded, nothing that is counted is lost, and what was folded is known', () => {
    const name = fc.integer({ min: 0, max: 60 }).map((n) => `v${n}`);
    const adds = fc.array(fc.tuple(name, name, fc.integer({ min: 1, max: 5 })), { maxLength: 150 });
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 40 }), adds, (most, all) => {
        const limits = new SeriesLimits(most);
        const family = new CounterFamily('x', '', ['one', 'code'], limits);
        let folded = 0;
        for (const [one, code, n] of all) {
          const before = limits.dropped;
          family.add(n, one, code);
          folded += limits.dropped - before;
        }
        const total = all.reduce((sum, [, , n]) => sum + n, 0);
        expect(family.series.reduce((sum, { value }) => sum + value, 0)).toBe(total);
        expect(family.series.length).toBeLessThanOrEqual(most + 1);
        const keys = family.series.map(({ labels }) => labels.join(' '));
        expect(new Set(keys).size).toBe(keys.length);
        expect(folded > 0).toBe(keys.some((key) => key.includes(OTHER)));
        expect(new Set(family.series.map(({ labels }) => labels[1])).size).toBeLessThanOrEqual(31);
      }),
    );
  });
});
