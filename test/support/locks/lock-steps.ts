import fc from 'fast-check';
import type { LockItem, LockMode } from '../../../src/core/ports/locks.ts';

/** What one request of a step asks for. */
export interface TwinAsk {
  readonly items: readonly LockItem[];
  /** Empty: an owner of its own. */
  readonly owner: string;
  readonly priority: number;
  readonly wait: boolean;
  readonly reentrant: boolean;
  /** With a lease of its own. */
  readonly lease: boolean;
  /** Converts something that is held, if anything is: then items and owner are those of that. */
  readonly upgrade?: { readonly pick: number; readonly mode: 'exclusive' | 'update' } | undefined;
}

export type TwinEnd = 'token' | 'bare' | 'stale' | 'down' | 'revoke' | 'cut';

/** A step on both stores; numbers pick from what is there. */
export type TwinStep =
  | { readonly do: 'ask'; readonly who: number; readonly asks: readonly TwinAsk[] }
  | {
      readonly do: 'end';
      readonly who: number;
      readonly picks: readonly { readonly pick: number; readonly how: TwinEnd }[];
    }
  | { readonly do: 'keep'; readonly who: number; readonly picks: readonly number[] }
  | { readonly do: 'abort'; readonly pick: number; readonly witness: number }
  | { readonly do: 'pass'; readonly ms: number }
  | { readonly do: 'beat'; readonly who: number }
  | { readonly do: 'leave'; readonly who: number };

const mode: fc.Arbitrary<LockMode> = fc.constantFrom<LockMode>(
  'intent-shared',
  'intent-exclusive',
  'shared',
  'shared',
  'update',
  'exclusive',
  'exclusive',
);
const units: fc.Arbitrary<LockMode> = fc
  .integer({ min: 1, max: 4 })
  .map((count) => ({ units: count, of: 4 }));
const item: fc.Arbitrary<LockItem> = fc.oneof(
  { weight: 12, arbitrary: fc.record({ resource: fc.constantFrom('a', 'b', 'c'), mode }) },
  { weight: 3, arbitrary: fc.record({ resource: fc.constant('units'), mode: units }) },
  // In the wrong way: refused, unless it is idle.
  { weight: 1, arbitrary: fc.record({ resource: fc.constant('units'), mode }) },
);
const items = fc
  .uniqueArray(item, { selector: ({ resource }) => resource, minLength: 1, maxLength: 3 })
  .map((list) => list.toSorted((a, b) => (a.resource < b.resource ? -1 : 1)));
const pick = fc.nat(63);
const who = fc.nat(2);
const mostly = (odds: number): fc.Arbitrary<boolean> => fc.nat(odds).map((n) => n > 0);

const ask: fc.Arbitrary<TwinAsk> = fc.record({
  items,
  owner: fc.constantFrom('o1', 'o2', 'o3', 'o4', '', ''),
  priority: fc.nat(3),
  wait: mostly(5),
  reentrant: fc.boolean(),
  lease: mostly(3).map((not) => !not),
  upgrade: fc.option(fc.record({ pick, mode: fc.constantFrom('exclusive', 'update') }), {
    freq: 3,
    nil: undefined,
  }),
});

/** A sequence of steps. */
export const twinSteps: fc.Arbitrary<TwinStep[]> = fc.array(
  fc.oneof<fc.MaybeWeightedArbitrary<TwinStep>[]>(
    {
      weight: 11,
      arbitrary: fc.record({
        do: fc.constant('ask' as const),
        who,
        asks: fc.array(ask, { minLength: 1, maxLength: 3 }),
      }),
    },
    {
      weight: 9,
      arbitrary: fc.record({
        do: fc.constant('end' as const),
        who,
        picks: fc.uniqueArray(
          fc.record({
            pick,
            how: fc.constantFrom('token', 'token', 'token', 'bare', 'bare', 'stale', 'down', 'revoke', 'cut'),
          }),
          { selector: (one) => one.pick, minLength: 1, maxLength: 3 },
        ),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        do: fc.constant('keep' as const),
        who,
        picks: fc.array(pick, { minLength: 1, maxLength: 4 }),
      }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('abort' as const), pick, witness: pick }) },
    {
      weight: 2,
      arbitrary: fc.record({ do: fc.constant('pass' as const), ms: fc.constantFrom(1, 7, 53, 111, 700) }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('beat' as const), who }) },
    {
      weight: 1,
      arbitrary: fc.record({ do: fc.constant('leave' as const), who: fc.integer({ min: 1, max: 2 }) }),
    },
  ),
  { minLength: 8, maxLength: 32, size: 'max' },
);
