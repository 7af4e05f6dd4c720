import fc from 'fast-check';
import { expect, test } from 'vitest';
import { TimerWheel } from '../../src/core/runtime/timer-wheel.ts';

/** The reference: a list that is sorted anew for each question. */
class NaiveTimers {
  now: number;
  readonly #pending: { readonly due: number; readonly id: number; readonly keepAlive: boolean }[] = [];

  constructor(now: number) {
    this.now = Math.floor(now);
  }
  add(due: number, id: number, keepAlive: boolean): void {
    this.#pending.push({ due: Math.max(Math.ceil(due), this.now + 1), id, keepAlive });
  }
  cancel(id: number): void {
    const index = this.#pending.findIndex((timer) => timer.id === id);
    if (index >= 0) this.#pending.splice(index, 1);
  }
  first(until: number): { readonly due: number; readonly id: number } | undefined {
    const [next] = this.#pending.toSorted((a, b) => a.due - b.due);
    return next !== undefined && next.due <= until ? next : undefined;
  }
  get keeping(): number {
    return this.#pending.filter((timer) => timer.keepAlive).length;
  }
  get size(): number {
    return this.#pending.length;
  }
}

type Action =
  | {
      readonly kind: 'add';
      readonly delay: number;
      readonly keepAlive: boolean;
      readonly then: 'nothing' | 'cancel' | 'add';
      readonly thenDelay: number;
    }
  | { readonly kind: 'cancel'; readonly which: number }
  | { readonly kind: 'advance'; readonly by: number };

/** Delays around every border of a level, and beyond the reach of the wheel (≈ 12 days). */
const delay = fc.oneof(
  fc.integer({ min: -5, max: 70 }),
  fc.constantFrom(63, 64, 65, 4_095, 4_096, 4_097, 262_143, 262_144, 16_777_216, 63 * 64 ** 4, 64 ** 5),
  fc.integer({ min: 0, max: 2 ** 32 }),
  fc.double({ min: 0, max: 5_000, noNaN: true }),
);
const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('add' as const),
      delay,
      keepAlive: fc.boolean(),
      then: fc.constantFrom('nothing' as const, 'nothing' as const, 'cancel' as const, 'add' as const),
      thenDelay: fc.integer({ min: -1, max: 5_000 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('cancel' as const), which: fc.nat(40) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('advance' as const),
      by: fc.oneof(
        fc.integer({ min: 0, max: 200 }),
        fc.constantFrom(64, 4_096, 262_144, 64 ** 4),
        fc.double({ min: 0, max: 1e4, noNaN: true }),
        fc.integer({ min: 0, max: 2 ** 32 }),
      ),
    }),
  },
);

test('the wheel fires what a sorted list fires, in the same order of ms, whatever is added, cancelled and skipped', () => {
  fc.assert(
    fc.property(
      fc.double({ min: 0, max: 1e9, noNaN: true }),
      fc.array(action, { maxLength: 40 }),
      (start, actions) => {
        let now = start;
        const wheel = new TimerWheel(now);
        const naive = new NaiveTimers(now);
        const handles: { cancel(): void }[] = [];
        let until = now;
        /** The wheel keeps exceptions of callbacks from the caller, so what they find is collected. */
        const problems: string[] = [];

        const add = (from: number, of: Extract<Action, { kind: 'add' }>, spawns: boolean): void => {
          const id = handles.length;
          naive.add(from + of.delay, id, of.keepAlive);
          const timer = wheel.add(
            from + of.delay,
            () => {
              const expected = naive.first(Math.floor(until));
              if (expected?.due !== timer.due) problems.push(`fired ${timer.due}, due was ${expected?.due}`);
              naive.cancel(id);
              naive.now = timer.due;
              if (of.then === 'cancel') cancel(of.thenDelay);
              if (of.then === 'add' && spawns)
                add(timer.due, { ...of, delay: of.thenDelay, then: 'nothing' }, false);
            },
            of.keepAlive,
          );
          handles.push(timer);
        };
        const cancel = (which: number): void => {
          if (handles.length === 0) return;
          const id = Math.abs(which) % handles.length;
          handles[id]?.cancel();
          handles[id]?.cancel();
          naive.cancel(id);
        };

        for (const step of actions) {
          if (step.kind === 'add') add(now, step, true);
          else if (step.kind === 'cancel') cancel(step.which);
          else {
            now += step.by;
            until = now;
            wheel.advance(now);
            naive.now = Math.max(naive.now, Math.floor(now));
            expect(problems).toEqual([]);
            expect(naive.first(Math.floor(now)), 'something due was not fired').toBeUndefined();
          }
          expect(wheel.keeping).toBe(naive.keeping);
          const next = naive.first(Number.POSITIVE_INFINITY)?.due ?? Number.POSITIVE_INFINITY;
          expect(wheel.nextDue()).toBeLessThanOrEqual(next);
          if (naive.size > 0) expect(wheel.nextDue()).toBeGreaterThan(Math.floor(now));
          else expect(wheel.nextDue()).toBe(Number.POSITIVE_INFINITY);
        }
      },
    ),
  );
});
