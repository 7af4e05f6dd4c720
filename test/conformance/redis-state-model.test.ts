import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Entry, StateStore, Swap } from '../../src/core/ports/state.ts';
import type { SuiteEnvironment } from '../../src/testing/suites/suite.ts';
import { type Caller, openCaller, sessionsOf } from '../../src/testing/suites/caller.ts';
import { memoryEnvironment } from '../support/memory-environment.ts';
import { redisEnvironment } from '../support/redis-environment.ts';

const KEYS = ['a/1', 'a/2', 'b/1', 'b/2', 'c'];
const SESSIONS = 3;
const LEASE_MS = 60_000;

const swap = fc.record({
  key: fc.constantFrom(...KEYS),
  value: fc.option(
    fc.jsonValue({ maxDepth: 2 }).map((value): unknown => JSON.parse(JSON.stringify(value))),
    { freq: 3, nil: undefined },
  ),
  expiresInMs: fc.option(fc.constantFrom(1, 1_000, 30_000, 400_000), { freq: 2, nil: undefined }),
  bound: fc.boolean(),
  /** Whether it names the revision that is current. */
  right: fc.nat(9).map((n) => n > 1),
});

const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('swap' as const),
      who: fc.nat(SESSIONS - 1),
      swaps: fc.uniqueArray(swap, { minLength: 1, maxLength: 3, selector: ({ key }) => key }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('pass' as const),
      ms: fc.constantFrom(1, 999, 1_000, 29_000, 61_000, 599_000, 600_000),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('watch' as const),
      watcher: fc.nat(2),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('beat' as const), who: fc.nat(SESSIONS - 1) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('close' as const), who: fc.nat(SESSIONS - 1) }) },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** One store and what a caller of it remembers: revisions differ between stores, all else doesn't. */
class World {
  readonly #env: SuiteEnvironment;
  readonly #store: StateStore;
  readonly #callers: Caller[];
  readonly #current = new Map<string, number>();
  readonly #positions = [0, 0, 0];

  private constructor(env: SuiteEnvironment, store: StateStore, callers: Caller[]) {
    this.#env = env;
    this.#store = store;
    this.#callers = callers;
  }

  static async on(env: SuiteEnvironment): Promise<World> {
    const callers: Caller[] = [];
    for (let i = 0; i < SESSIONS; i++) callers.push(await openCaller(env, `boot ${i}`, LEASE_MS));
    return new World(env, env.backend.state as StateStore, callers);
  }

  async carryOut(what: Step): Promise<unknown> {
    switch (what.do) {
      case 'pass':
        return this.#env.pass(what.ms);
      case 'swap':
        return this.#swap(this.#callers[what.who] as Caller, what.swaps);
      case 'watch':
        return this.#watch(what.watcher);
      case 'beat': {
        const { session } = this.#callers[what.who] as Caller;
        const { sessions } = this.#env.backend;
        const { items } = await sessionsOf(this.#env).list({ limit: 1 });
        const report = items[0]?.report;
        return report === undefined ? 'none' : (await sessions?.beat(session, report))?.status;
      }
      case 'close':
        return void (await sessionsOf(this.#env).close((this.#callers[what.who] as Caller).session));
    }
  }

  /** All there is. */
  async see(): Promise<unknown> {
    const { entries } = await this.#store.get(KEYS);
    for (const [i, entry] of entries.entries()) this.#current.set(KEYS[i] as string, entry?.revision ?? 0);
    return entries.map(shown);
  }

  stop(): Promise<void> {
    return this.#env.stop();
  }

  async #swap({ op }: Caller, given: Extract<Step, { do: 'swap' }>['swaps']): Promise<unknown> {
    const swaps = given.map(({ key, value, expiresInMs, bound, right }): Swap => {
      const current = this.#current.get(key) ?? 0;
      return {
        key,
        value,
        expected: right ? current : current + 1,
        ...(expiresInMs === undefined ? {} : { expiresInMs }),
        ...(bound ? { session: true as const } : {}),
      };
    });
    try {
      const { swapped, entries } = await this.#store.compareAndSet(op(), swaps);
      return { swapped, entries: entries.map(shown) };
    } catch (error) {
      return (error as { readonly code?: unknown }).code;
    }
  }

  async #watch(watcher: number): Promise<unknown> {
    const after = this.#positions[watcher] as number;
    const page = await this.#store.changes(watcher === 0 ? '' : 'a/', after, 100);
    this.#positions[watcher] = page.revision;
    // What ends at one time has no order among itself.
    const entries = page.entries.map(shown).toSorted((x, y) => (String(x) < String(y) ? -1 : 1));
    return {
      entries,
      reset: page.reset,
      more: page.more,
      listing: page.revision < 0,
    };
  }
}

function shown(entry: Entry | undefined): unknown {
  return entry === undefined ? undefined : [entry.key, entry.value];
}

test('Redis and memory answer alike, whatever happens to keys, sessions and watchers', async () => {
  let swaps = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
      const worlds = [
        await World.on(await memoryEnvironment()),
        await World.on(await redisEnvironment()),
      ] as const;
      try {
        for (const each of steps) {
          const [expected, actual] = await Promise.all(worlds.map((world) => world.carryOut(each)));
          expect(actual).toEqual(expected);
          if (each.do === 'swap') swaps += 1;
          // Not after each step: what nobody looks at must end in time as well.
          if (each.do !== 'pass') expect(await worlds[1].see()).toEqual(await worlds[0].see());
        }
      } finally {
        for (const world of worlds) await world.stop();
      }
    }),
    { numRuns: 150 },
  );
  expect(swaps).toBeGreaterThan(300);
});
