import fc from 'fast-check';
import { expect } from 'vitest';
import type { Backend } from '../../src/core/ports/backend.ts';
import type { Operation, SessionNumber } from '../../src/core/ports/words.ts';
import { REPORT } from '../../src/testing/suites/caller.ts';

interface ModelEntry {
  readonly value: number;
  readonly revision: number;
  readonly expiresAt: number;
  readonly bound: boolean;
}

const KEYS = ['a/1', 'a/2', 'b/1'];
const key = fc.constantFrom(...KEYS);
/** What may happen to a state store. */
export const stateStep = fc.oneof(
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

type Script = readonly (typeof stateStep extends fc.Arbitrary<infer S> ? S : never)[];

/** A store whose time is in the test's hands. */
export interface StateWorld {
  readonly backend: Required<Pick<Backend, 'sessions' | 'state'>>;
  /** Lets ms of the backend's time go by. */
  pass(ms: number): unknown;
}

/** One writer's session at a time, a model of what they wrote, and a watcher that reads in pages now and then. */
class World {
  readonly #world: StateWorld;
  readonly model = new Map<string, ModelEntry>();
  readonly watched = new Map<string, unknown>();
  after = 0;
  now = 0;
  #session = 0 as SessionNumber;
  #sequence = 0;
  #boots = 0;

  constructor(world: StateWorld) {
    this.#world = world;
  }

  get state(): StateWorld['backend']['state'] {
    return this.#world.backend.state;
  }

  op(): Operation {
    this.#sequence += 1;
    return { session: this.#session, sequence: this.#sequence };
  }

  async pass(ms: number): Promise<void> {
    this.now += ms;
    await this.#world.pass(ms);
  }

  async open(): Promise<void> {
    this.#sequence = 0;
    const boot = `boot${++this.#boots}`;
    const { sessions } = this.#world.backend;
    this.#session = (await sessions.open({ boot, leaseMs: 1e12, writer: 1, report: REPORT })).session;
  }

  async end(): Promise<void> {
    await this.#world.backend.sessions.close(this.#session);
    for (const [key, { bound }] of this.model) if (bound) this.model.delete(key);
    await this.open();
  }

  /** What the model holds now. */
  live(): Map<string, ModelEntry> {
    for (const [key, { expiresAt }] of this.model) if (expiresAt <= this.now) this.model.delete(key);
    return this.model;
  }

  async watch(limit: number): Promise<void> {
    for (let more = true; more; ) {
      const page = await this.state.changes('a/', this.after, limit);
      if (page.reset) this.watched.clear();
      for (const { key, value } of page.entries) {
        if (value === undefined) this.watched.delete(key);
        else this.watched.set(key, value);
      }
      this.after = page.revision;
      more = page.more;
    }
  }
}

/** What the scripts of a run met. */
export interface StateRun {
  refused: number;
  resets: number;
  runs: number;
}

/** Plays a script and fails where the store does anything but the model. */
export async function checkState(world: StateWorld, script: Script, seen: StateRun): Promise<void> {
  seen.runs += 1;
  const played = new World(world);
  await played.open();
  let last = 0;
  for (const action of script) {
    if (action.do === 'pass') await played.pass(action.ms);
    else if (action.do === 'end') await played.end();
    else if (action.do === 'read') await played.watch(action.limit);
    else last = await swap(played, action, last, seen);
    const now = await played.state.get(KEYS);
    expect(now.entries.map((entry) => entry?.value)).toEqual(
      KEYS.map((name) => played.live().get(name)?.value),
    );
  }
  if ((await played.state.changes('a/', played.after, 1)).reset) seen.resets += 1;
  await played.watch(2);
  const known = [...played.live()]
    .filter(([name]) => name.startsWith('a/'))
    .map(([name, { value }]) => [name, value] as const);
  expect(played.watched).toEqual(new Map(known));
}

/** Returns the newest revision. */
async function swap(
  world: World,
  action: Script[number] & { readonly do: 'swap' },
  last: number,
  seen: StateRun,
): Promise<number> {
  const live = world.live();
  const swaps = action.keys.map((name) => ({
    key: name,
    expected: (live.get(name)?.revision ?? 0) + (action.stale ? 1 : 0),
    value: action.value,
    ...(action.expiresInMs === undefined ? {} : { expiresInMs: action.expiresInMs }),
    ...(action.session ? { session: true as const } : {}),
  }));
  const { swapped, entries } = await world.state.compareAndSet(world.op(), swaps);
  expect(swapped).toBe(!action.stale);
  if (!swapped) {
    seen.refused += 1;
    expect(entries.map((entry) => entry?.value)).toEqual(action.keys.map((name) => live.get(name)?.value));
    return last;
  }
  let newest = last;
  for (const [index, name] of action.keys.entries()) {
    const entry = entries[index];
    if (action.value === undefined) {
      expect(entry).toBeUndefined();
      live.delete(name);
      continue;
    }
    expect(entry?.value).toBe(action.value);
    expect(entry?.revision).toBeGreaterThan(newest);
    newest = entry?.revision ?? newest;
    live.set(name, {
      value: action.value,
      revision: newest,
      expiresAt: world.now + (action.expiresInMs ?? Number.POSITIVE_INFINITY),
      bound: action.session,
    });
  }
  return newest;
}
