import fc from 'fast-check';
import { expect, test } from 'vitest';
import { memory, type MemoryBackend } from '../../src/backends/memory/memory.ts';
import type { Operation, SessionNumber } from '../../src/core/ports/words.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import { REPORT } from '../../src/testing/suites/caller.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';

interface ModelEntry {
  readonly value: number;
  readonly revision: number;
  readonly expiresAt: number;
  readonly bound: boolean;
}

const KEYS = ['a/1', 'a/2', 'b/1'];
const key = fc.constantFrom(...KEYS);
const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('swap' as const),
      keys: fc.uniqueArray(key, { minLength: 1, maxLength: 2 }),
      value: fc.option(fc.nat(9), { nil: undefined, freq: 3 }),
      stale: fc.boolean(),
      expiresInMs: fc.constantFrom(undefined, undefined, 1_000),
      session: fc.boolean(),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('read' as const), limit: fc.integer({ min: 1, max: 3 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('pass' as const), ms: fc.constantFrom(400, 1_200, 700_000) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('end' as const) }) },
);

/** One writer's session at a time, and a watcher that reads in pages now and then. */
class World {
  readonly clock = createTestClock();
  readonly backend: MemoryBackend = memory();
  readonly model = new Map<string, ModelEntry>();
  readonly watched = new Map<string, unknown>();
  after = 0;
  #session: SessionNumber;
  #sequence = 0;
  #boots = 0;

  constructor() {
    this.backend.start(createRuntime({ clock: this.clock, random: createRandom('state') }));
    this.#session = this.#open();
  }

  op(): Operation {
    this.#sequence += 1;
    return { session: this.#session, sequence: this.#sequence };
  }

  end(): void {
    this.backend.sessions.close(this.#session);
    for (const [key, { bound }] of this.model) if (bound) this.model.delete(key);
    this.#session = this.#open();
  }

  /** What the model holds now. */
  live(): Map<string, ModelEntry> {
    const now = this.clock.mono();
    for (const [key, { expiresAt }] of this.model) if (expiresAt <= now) this.model.delete(key);
    return this.model;
  }

  watch(limit: number): void {
    for (let more = true; more; ) {
      const page = this.backend.state.changes('a/', this.after, limit);
      if (page.reset) this.watched.clear();
      for (const { key, value } of page.entries) {
        if (value === undefined) this.watched.delete(key);
        else this.watched.set(key, value);
      }
      this.after = page.revision;
      more = page.more;
    }
  }

  #open(): SessionNumber {
    this.#sequence = 0;
    const boot = `boot${++this.#boots}`;
    return this.backend.sessions.open({ boot, leaseMs: 1e12, writer: 1, report: REPORT }).session;
  }
}

test('state is a map with compare-and-set; a watcher knows it after reading on, whatever expires or ends', () => {
  const seen = { refused: 0, resets: 0, runs: 0 };
  fc.assert(
    fc.property(fc.array(step, { minLength: 5, maxLength: 40 }), (script) => {
      seen.runs += 1;
      const world = new World();
      let last = 0;
      for (const action of script) {
        if (action.do === 'pass') world.clock.tick(action.ms);
        else if (action.do === 'end') world.end();
        else if (action.do === 'read') world.watch(action.limit);
        else {
          const live = world.live();
          const expected = (name: string): number => (live.get(name)?.revision ?? 0) + (action.stale ? 1 : 0);
          const swaps = action.keys.map((name) => ({
            key: name,
            expected: expected(name),
            value: action.value,
            ...(action.expiresInMs === undefined ? {} : { expiresInMs: action.expiresInMs }),
            ...(action.session ? { session: true as const } : {}),
          }));
          const { swapped, entries } = world.backend.state.compareAndSet(world.op(), swaps);
          expect(swapped).toBe(!action.stale);
          if (!swapped) {
            seen.refused += 1;
            expect(entries.map((entry) => entry?.value)).toEqual(
              action.keys.map((name) => live.get(name)?.value),
            );
            continue;
          }
          for (const [index, name] of action.keys.entries()) {
            const entry = entries[index];
            if (action.value === undefined) {
              expect(entry).toBeUndefined();
              live.delete(name);
              continue;
            }
            expect(entry?.value).toBe(action.value);
            expect(entry?.revision).toBeGreaterThan(last);
            last = entry?.revision ?? last;
            live.set(name, {
              value: action.value,
              revision: last,
              expiresAt: world.clock.mono() + (action.expiresInMs ?? Number.POSITIVE_INFINITY),
              bound: action.session,
            });
          }
        }
        const now = world.backend.state.get(KEYS);
        expect(now.entries.map((entry) => entry?.value)).toEqual(
          KEYS.map((name) => world.live().get(name)?.value),
        );
      }
      const before = world.after;
      if (world.backend.state.changes('a/', before, 1).reset) seen.resets += 1;
      world.watch(2);
      const known = [...world.live()]
        .filter(([name]) => name.startsWith('a/'))
        .map(([name, { value }]) => [name, value]);
      expect(world.watched).toEqual(new Map(known as [string, number][]));
    }),
  );
  expect(seen.refused).toBeGreaterThan(seen.runs / 2);
  expect(seen.resets).toBeGreaterThan(seen.runs / 100);
});
