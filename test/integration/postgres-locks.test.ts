import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { LockItem, LockMode } from '../../src/core/ports/locks.ts';
import { LockTwins, type TwinStep } from '../support/locks/lock-twins.ts';
import { postgresEnvironment } from '../support/postgres-environment.ts';

const seed = process.env['FC_SEED'];

// ── the same as memory

const mode: fc.Arbitrary<LockMode> = fc.constantFrom<LockMode>(
  'intent-shared',
  'intent-exclusive',
  'shared',
  'shared',
  'update',
  'exclusive',
  'exclusive',
);
const units: fc.Arbitrary<LockItem> = fc
  .integer({ min: 1, max: 4 })
  .map((count) => ({ resource: 'units', mode: { units: count, of: 4 } }));
const item: fc.Arbitrary<LockItem> = fc.oneof(
  { weight: 7, arbitrary: fc.record({ resource: fc.constantFrom('a', 'b', 'c'), mode }) },
  { weight: 2, arbitrary: units },
  { weight: 1, arbitrary: fc.record({ resource: fc.constant('units'), mode }) },
);
const items = fc
  .uniqueArray(item, { selector: ({ resource }) => resource, minLength: 1, maxLength: 3 })
  .map((list) => list.toSorted((a, b) => (a.resource < b.resource ? -1 : 1)));
const caller = fc.nat(1);
const step = fc.oneof<fc.MaybeWeightedArbitrary<TwinStep>[]>(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('ask' as const),
      caller,
      wishes: fc.array(
        fc.record({
          owner: fc.constantFrom('o1', 'o2', 'o3', 'o4', 'o5'),
          items,
          priority: fc.integer({ min: 0, max: 3 }),
          wait: fc.integer({ min: 0, max: 5 }).map((n) => n > 0),
          reentrant: fc.boolean(),
          lease: fc.integer({ min: 0, max: 4 }).map((n) => n === 0),
        }),
        { minLength: 1, maxLength: 3 },
      ),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('upgrade' as const),
      pick: fc.nat(50),
      mode: fc.constantFrom('exclusive' as const, 'update' as const),
      wait: fc.boolean(),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('end' as const),
      caller,
      picks: fc.uniqueArray(
        fc.record({
          pick: fc.nat(50),
          how: fc.constantFrom('token', 'token', 'bare', 'bare', 'stale', 'down', 'revoke', 'cut'),
        }),
        { selector: ({ pick }) => pick, minLength: 1, maxLength: 3 },
      ),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('keep' as const), caller }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('abort' as const), pick: fc.nat(50), witness: fc.nat(50) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('pass' as const), ms: fc.constantFrom(1, 7, 13, 53, 111) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('die' as const), caller, close: fc.boolean() }) },
);

describe('the same as memory', () => {
  test('what every operation says, who holds, who waits, in which order, on 200 random sequences', async () => {
    const counts = new Map<string, number>();
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 8, maxLength: 30 }), async (steps) => {
        const env = await postgresEnvironment();
        try {
          const twins = new LockTwins(env);
          await twins.start();
          for (const next of steps) await twins.run(next);
          await twins.drain();
          for (const [what, count] of twins.counts) counts.set(what, (counts.get(what) ?? 0) + count);
        } finally {
          await env.stop();
        }
      }),
      { numRuns: 200 },
    );
    console.info(
      `postgres locks: FC_SEED=${seed}`,
      Object.fromEntries([...counts].sort(([a], [b]) => (a < b ? -1 : 1))),
    );
    for (const what of [
      'granted',
      'waiting',
      'lost',
      'aborted true',
      'refused: upgrade-conflict',
      'refused: reentrant',
    ])
      expect(counts.get(what) ?? 0, what).toBeGreaterThan(0);
  }, 300_000);
});
