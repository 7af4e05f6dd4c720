import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { MemoryLockStore } from '../../src/backends/memory/lock-store.ts';
import { createMemoryCore } from '../../src/backends/memory/memory-core.ts';
import { CoordinationError, isCoordinationError } from '../../src/core/errors.ts';
import type { Lease, ResourceRequest } from '../../src/core/lock-types.ts';
import type { LockItem, LockMode, LockRequest, WaitSnapshot } from '../../src/core/ports/locks.ts';
import type { BackendTime } from '../../src/core/ports/words.ts';
import { REPORT } from '../../src/testing/suites/caller.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';
import { canFinish } from '../support/locks/brute-force.ts';
import { createDesk, type LockDesk } from '../support/locks/lock-desk.ts';
import { remoteLocks } from '../support/locks/remote-locks.ts';
import { excludes, graphOf, grantable } from '../support/locks/snapshot-graph.ts';

const MODES: readonly LockMode[] = [
  'intent-shared',
  'intent-exclusive',
  'shared',
  'update',
  'exclusive',
  'exclusive',
];

// ── the table

interface TableModel {
  readonly requests: Map<string, { readonly request: LockRequest; state: 'waiting' | 'held'; token: number }>;
  next: number;
  lastToken: Map<string, number>;
}

class Table {
  readonly clock = createTestClock();
  readonly core = createMemoryCore({ clock: this.clock });
  readonly store = new MemoryLockStore(this.core);
  readonly session = this.core.sessions.open({
    boot: 'b',
    leaseMs: Number.POSITIVE_INFINITY,
    writer: 1,
    report: REPORT,
  }).session;
  #sequence = 0;

  op() {
    this.#sequence += 1;
    return { session: this.session, sequence: this.#sequence };
  }
}

type TableCommand = fc.Command<TableModel, Table>;

class Ask implements TableCommand {
  readonly items: readonly LockItem[];
  readonly owner: string;
  readonly priority: number;
  readonly wait: boolean;
  readonly afterMs: number;

  constructor(items: readonly LockItem[], owner: string, priority: number, wait: boolean, afterMs: number) {
    this.items = items;
    this.owner = owner;
    this.priority = priority;
    this.wait = wait;
    this.afterMs = afterMs;
  }
  check = () => true;
  run(model: TableModel, real: Table): void {
    real.clock.tick(this.afterMs);
    const id = `q${model.next++}`;
    const request: LockRequest = {
      id,
      items: this.items,
      owner: { id: this.owner, priority: this.priority, since: 0 as BackendTime, defeats: 0 },
      priority: this.priority,
      order: { ageStepMs: 100, maxOvertakes: 3 },
      wait: this.wait,
      lease: 'session',
      reentrant: true,
    };
    const before = held(model);
    const [answer] = real.store.request(real.op(), [request]).answers;
    if (answer?.status === 'granted') {
      for (const { mode, resource } of this.items) {
        for (const other of before) {
          if (other.owner === this.owner || other.item.resource !== resource) continue;
          expect(excludes(mode, other.item.mode)).toBe(false);
        }
      }
      grant(model, request, answer.tokens);
      this.#grantOwn(model, real);
    } else if (answer?.status === 'waiting') {
      expect(this.wait).toBe(true);
      model.requests.set(id, { request, state: 'waiting', token: 0 });
    } else expect(answer).toEqual({ status: 'refused', why: this.wait ? 'capacity' : expect.any(String) });
    checkTable(model, real, []);
  }

  /** What the owner has come to hold may have opened another of its own waits. */
  #grantOwn(model: TableModel, real: Table): void {
    for (const [id, { request, state }] of model.requests) {
      if (state !== 'waiting' || request.owner.id !== this.owner) continue;
      const [answer] = real.store.keep(real.session, [{ id }]).answers;
      if (answer?.status !== 'granted') continue;
      for (const { mode, resource } of request.items) {
        for (const other of held(model)) {
          if (other.owner === this.owner || other.item.resource !== resource) continue;
          expect(excludes(mode, other.item.mode)).toBe(false);
        }
      }
      grant(model, request, answer.tokens);
    }
  }
  toString = () => `ask(${JSON.stringify(this.items)}, ${this.owner}, ${this.priority}, ${this.wait})`;
}

class End implements TableCommand {
  readonly pick: number;
  readonly downgrade: boolean;

  constructor(pick: number, downgrade: boolean) {
    this.pick = pick;
    this.downgrade = downgrade;
  }
  check = (model: Readonly<TableModel>) => model.requests.size > 0;
  run(model: TableModel, real: Table): void {
    const [id, { state, token }] = [...model.requests][this.pick % model.requests.size] as [
      string,
      { state: string; token: number },
    ];
    const before = real.store.snapshot();
    const down = this.downgrade && state === 'held';
    const item = down ? { id, downgradeTo: 'shared' as const } : { id };
    expect(real.store.keep(real.session, [{ id }]).answers[0]?.status).toBe(
      state === 'held' ? 'granted' : 'waiting',
    );
    const { ended, granted } = real.store.release(real.op(), [
      state === 'held' ? { ...item, token: token as never } : item,
    ]);
    expect(ended).toEqual([true]);
    const known = model.requests.get(id) as { readonly request: LockRequest };
    if (!down) model.requests.delete(id);
    else {
      const weakened = known.request.items.map((part) => ({ ...part, mode: weaker(part.mode) }));
      model.requests.set(id, { request: { ...known.request, items: weakened }, state: 'held', token });
    }
    const expected = allGrantable(down ? downgraded(before, id) : without(before, id));
    expect([...granted].sort()).toEqual([...expected].sort());
    for (const name of granted) {
      const known = model.requests.get(name);
      const [answer] = real.store.keep(real.session, [{ id: name }]).answers;
      if (known === undefined || answer?.status !== 'granted')
        throw new Error(`${name} was granted out of nothing`);
      grant(model, known.request, answer.tokens);
    }
    checkTable(model, real, granted);
  }
  toString = () => `end(${this.pick}${this.downgrade ? ', downgrade' : ''})`;
}

/** The snapshot as it is once a request has ended. */
function without(snapshot: WaitSnapshot, id: string): WaitSnapshot {
  return {
    ...snapshot,
    resources: snapshot.resources.map((row) => ({
      ...row,
      held: row.held.filter(({ grant: { id: other } }) => other !== id),
      queue: row.queue.filter(({ wait }) => wait.id !== id),
    })),
  };
}

/** What is granted in the end: what an owner comes to hold may open another of its own waits. */
function allGrantable(snapshot: WaitSnapshot): Set<string> {
  const granted = new Set<string>();
  let now = snapshot;
  for (let ids = grantable(now); ids.size > 0; ids = grantable(now)) {
    for (const id of ids) granted.add(id);
    now = {
      ...now,
      resources: now.resources.map((row) => ({
        ...row,
        held: [
          ...row.held,
          ...row.queue
            .filter(({ wait }) => ids.has(wait.id))
            .map(({ owner, mode, wait }) => ({ owner, mode, grant: { id: wait.id, token: 0 as never } })),
        ],
        queue: row.queue.filter(({ wait }) => !ids.has(wait.id)),
      })),
    };
  }
  return granted;
}

function weaker(mode: LockMode): LockMode {
  if (typeof mode === 'object') return mode;
  return mode.startsWith('intent') ? 'intent-shared' : 'shared';
}

function downgraded(snapshot: WaitSnapshot, id: string): WaitSnapshot {
  return {
    ...snapshot,
    resources: snapshot.resources.map((row) => ({
      ...row,
      held: row.held.map((party) => (party.grant.id === id ? { ...party, mode: weaker(party.mode) } : party)),
    })),
  };
}

function held(model: TableModel): { owner: string; item: LockItem }[] {
  return [...model.requests.values()].flatMap(({ request, state }) =>
    state === 'held' ? request.items.map((item) => ({ owner: request.owner.id, item })) : [],
  );
}

function grant(model: TableModel, request: LockRequest, tokens: readonly number[]): void {
  request.items.forEach(({ resource }, i) => {
    const last = model.lastToken.get(resource) ?? 0;
    const own = held(model).some(
      ({ owner, item }) => owner === request.owner.id && item.resource === resource,
    );
    if (own) expect(tokens[i]).toBeGreaterThan(0);
    else expect(tokens[i]).toBeGreaterThan(last);
    model.lastToken.set(resource, Math.max(last, tokens[i] as number));
  });
  model.requests.set(request.id, { request, state: 'held', token: tokens[0] as number });
}

function checkTable(model: TableModel, real: Table, granted: readonly string[]): void {
  const snapshot = real.store.snapshot();
  // Nobody waits who could be granted, and the queues hold exactly who waits.
  expect([...grantable(snapshot)]).toEqual([]);
  const waiting = new Set(snapshot.resources.flatMap(({ queue }) => queue.map(({ wait }) => wait.id)));
  const expected = [...model.requests].flatMap(([id, { state }]) => (state === 'waiting' ? [id] : []));
  expect([...waiting].sort()).toEqual(expected.sort());
  // One order in all queues.
  const before = new Set<string>();
  for (const { queue } of snapshot.resources) {
    queue.forEach(({ wait }, i) => {
      for (const { wait: earlier } of queue.slice(0, i)) {
        expect(before.has(`${wait.id} ${earlier.id}`)).toBe(false);
        before.add(`${earlier.id} ${wait.id}`);
      }
    });
  }
  for (const id of granted) expect(waiting.has(id)).toBe(false);
}

describe('the lock table against a model', () => {
  const resource = fc.constantFrom('a', 'b', 'c');
  const mode = fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(...MODES) },
    { weight: 1, arbitrary: fc.integer({ min: 1, max: 3 }).map((units) => ({ units, of: 3 })) },
  );
  const items = fc
    .uniqueArray(fc.record({ resource, mode }), {
      selector: (item) => item.resource,
      minLength: 1,
      maxLength: 3,
    })
    .map((list) => list.toSorted((a, b) => (a.resource < b.resource ? -1 : 1)));
  const owner = fc.constantFrom('o1', 'o2', 'o3', 'o4', 'o5');

  test('L1, L2, L6, L7, L8: who is granted, in which order, with which tokens, and nothing is left behind', () => {
    const ask = fc
      .tuple(items, owner, fc.integer({ min: 0, max: 3 }), fc.boolean(), fc.integer({ min: 0, max: 40 }))
      .map(
        ([list, name, priority, now, afterMs]) => new Ask(list, name, priority, now || priority > 0, afterMs),
      );
    const end = fc
      .tuple(fc.nat(50), fc.integer({ min: 0, max: 5 }))
      .map(([pick, down]) => new End(pick, down === 0));
    fc.assert(
      fc.property(fc.commands([ask, end], { maxCommands: 40, size: '+1' }), (commands) => {
        const real = new Table();
        const model: TableModel = { requests: new Map(), next: 0, lastToken: new Map() };
        fc.modelRun(() => ({ model, real }), commands);
        while (model.requests.size > 0) new End(0, false).run(model, real);
        expect(real.store.list({}, { limit: 10 }).items).toEqual([]);
        expect(real.store.live.counts().waiting).toBe(0);
      }),
    );
  });

  test('L7: nobody is overtaken more often than allowed, whatever the priorities', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.tuple(fc.integer({ min: -5, max: 5 }), fc.constantFrom('exclusive', 'shared'), fc.nat(3)),
          {
            minLength: 5,
            maxLength: 60,
          },
        ),
        fc.integer({ min: 0, max: 4 }),
        (arrivals, maxOvertakes) => {
          const real = new Table();
          const waiting: string[] = [];
          const overtaken = new Map<string, number>();
          const holding: string[] = [];
          const take = (ids: readonly string[]): void => {
            for (const id of ids) {
              const at = waiting.indexOf(id);
              for (const earlier of waiting.slice(0, at)) {
                if (modeOf(id) === 'shared' && modeOf(earlier) === 'shared') continue;
                overtaken.set(earlier, (overtaken.get(earlier) ?? 0) + 1);
              }
              waiting.splice(at, 1);
              holding.push(id);
            }
          };
          const modes = new Map<string, LockMode>();
          const modeOf = (id: string): LockMode => modes.get(id) as LockMode;
          arrivals.forEach(([priority, mode, releases], i) => {
            const id = `q${i}`;
            modes.set(id, mode);
            waiting.push(id);
            const [answer] = real.store.request(real.op(), [
              {
                id,
                items: [{ resource: 'r', mode }],
                owner: { id, priority, since: 0 as BackendTime, defeats: 0 },
                priority,
                order: { ageStepMs: 1_000, maxOvertakes },
                wait: true,
                lease: 'session',
                reentrant: false,
              },
            ]).answers;
            if (answer?.status === 'granted') take([id]);
            for (let n = 0; n < releases && holding.length > 0; n++) {
              const done = holding.shift() as string;
              take(real.store.release(real.op(), [{ id: done }]).granted);
            }
          });
          while (holding.length > 0)
            take(real.store.release(real.op(), [{ id: holding.shift() as string }]).granted);
          expect(waiting).toEqual([]);
          for (const count of overtaken.values()) expect(count).toBeLessThanOrEqual(maxOvertakes);
        },
      ),
    );
  });
});

// ── the manager

const AGENTS = ['ann', 'bob', 'cid', 'dee', 'eve'];
const RESOURCES = ['a', 'b', 'c'];
const seen = { runs: 0, contended: 0, deadlocked: 0, several: 0 };

/** An agent as a user writes one: one thing after another. */
interface Person {
  readonly id: string;
  readonly leases: Lease[];
  pending: { readonly abort: AbortController; readonly done: Promise<unknown> } | undefined;
}

class House {
  readonly desk: LockDesk = createDesk({ resourceTimeout: 5_000 });
  readonly people = new Map<string, Person>(AGENTS.map((id) => [id, { id, leases: [], pending: undefined }]));
  contended = false;
  deadlocks = 0;
  /** Since the last step. */
  victims = 0;

  constructor() {
    this.desk.bus.on('resource:waited', () => {
      this.contended = true;
    });
    this.desk.bus.on('deadlock:detected', ({ victim, cycle }) => {
      this.deadlocks += 1;
      this.victims += 1;
      // D1: at this moment, with all waits in place, no order of finishing lets the victim finish.
      const graph = graphOf(this.desk.store.snapshot());
      expect(canFinish(graph).has(victim)).toBe(false);
      for (const { waiter, holder, what } of cycle) {
        const needs = graph.get(waiter)?.filter((need) => need.what === what) ?? [];
        expect(needs.some(({ blockers }) => blockers.some(({ node }) => node === holder))).toBe(true);
      }
    });
  }

  /** D2: after each step, whoever waits can finish. L2: no two incompatible holders. */
  check(): void {
    const snapshot = this.desk.store.snapshot();
    const graph = graphOf(snapshot);
    const able = canFinish(graph);
    for (const node of graph.keys()) expect(able.has(node)).toBe(true);
    for (const { held: holders, capacity } of snapshot.resources) {
      const used = holders.reduce((sum, { mode }) => sum + (typeof mode === 'object' ? mode.units : 0), 0);
      if (capacity !== undefined) expect(used).toBeLessThanOrEqual(capacity);
      for (const [i, a] of holders.entries())
        for (const b of holders.slice(0, i))
          expect(a.owner !== b.owner && excludes(a.mode, b.mode)).toBe(false);
    }
  }
}

type HouseCommand = fc.AsyncCommand<object, House>;

function command(name: string, run: (house: House) => void): HouseCommand {
  return {
    check: () => true,
    run: async (_model, house) => {
      house.victims = 0;
      run(house);
      // D3: a step begins one wait at most, and every cycle that it closes goes through that one.
      expect(house.victims).toBeLessThanOrEqual(1);
      house.check();
      for (let i = 0; i < 4; i++) await Promise.resolve();
      house.check();
    },
    toString: () => name,
  };
}

const person = fc.constantFrom(...AGENTS);
const wish: fc.Arbitrary<ResourceRequest> = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...RESOURCES) },
  {
    weight: 2,
    arbitrary: fc.record({
      resource: fc.constantFrom(...RESOURCES),
      mode: fc.constantFrom('shared', 'update'),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      semaphore: fc.constant('gpu'),
      of: fc.constant(3),
      units: fc.integer({ min: 1, max: 2 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ path: fc.constantFrom('src/a.ts', 'src/b.ts', 'src/**', 'docs/x.md') }),
  },
);

const takesOf = (most: number) =>
  fc
    .tuple(person, fc.array(wish, { minLength: 1, maxLength: most }), fc.integer({ min: 1, max: 3 }))
    .map(([id, wishes, priority]) =>
      command(`${id} takes ${JSON.stringify(wishes)}`, ({ desk, people }) => {
        const one = people.get(id) as Person;
        if (one.pending !== undefined) return;
        const abort = new AbortController();
        const done = desk.locks
          .acquireAll(wishes, { owner: id, priority, signal: abort.signal })
          .then((lease) => one.leases.push(lease))
          .catch((error: unknown) => expect(isCoordinationError(error)).toBe(true))
          .finally(() => {
            one.pending = undefined;
          });
        one.pending = { abort, done };
      }),
    );
const takes = takesOf(1);

const commands = [
  // Far more taking than anything else: that is what makes deadlocks.
  ...Array<typeof takes>(8).fill(takes),
  takesOf(2),
  fc.tuple(person, fc.nat(5)).map(([id, pick]) =>
    command(`${id} releases ${pick}`, ({ people }) => {
      const { leases } = people.get(id) as Person;
      const [lease] = leases.splice(pick % Math.max(1, leases.length), 1);
      void lease?.release();
    }),
  ),
  person.map((id) =>
    command(`${id} upgrades`, ({ people }) => {
      const one = people.get(id) as Person;
      const lease = one.leases.at(-1);
      if (lease === undefined || one.pending !== undefined) return;
      const abort = new AbortController();
      const done = lease
        .upgrade({ signal: abort.signal })
        .catch(() => undefined)
        .finally(() => {
          one.pending = undefined;
        });
      one.pending = { abort, done };
    }),
  ),
  person.map((id) =>
    command(`${id} gives up`, ({ people }) => {
      people.get(id)?.pending?.abort.abort(new CoordinationError('TASK_CANCELLED', 'enough'));
    }),
  ),
  fc.tuple(person).map(([id]) =>
    command(`${id} leaves`, ({ desk, people }) => {
      void desk.locks.agentLeft(id);
      desk.locks.agentJoined(id);
      (people.get(id) as Person).leases.length = 0;
    }),
  ),
  fc.integer({ min: 1, max: 3_000 }).map((ms) => command(`${ms} ms pass`, ({ desk }) => desk.clock.tick(ms))),
];

describe('the manager against brute force', () => {
  test('D1, D2, D3, D4, L2, L6: no false victim, no deadlock left, all settle, nothing is held or waited for at the end', async () => {
    await fc.assert(
      fc.asyncProperty(fc.commands(commands, { maxCommands: 50, size: '+1' }), async (list) => {
        const house = new House();
        await fc.asyncModelRun(() => ({ model: {}, real: house }), list);
        seen.runs += 1;
        if (house.contended) seen.contended += 1;
        if (house.deadlocks > 0) seen.deadlocked += 1;
        if (house.deadlocks > 1) seen.several += 1;
        await finish(house);
        expect(house.desk.locks.lockUse()).toMatchObject({ held: 0, waiting: 0 });
        expect(house.desk.locks.getAllocations()).toEqual(new Map());
        expect(house.desk.locks.getWaitingRequests()).toEqual(new Map());
      }),
    );
  });

  afterAll(() => {
    console.info('lock model', seen);
    expect(seen.contended / seen.runs).toBeGreaterThan(0.3);
    expect(seen.deadlocked / seen.runs).toBeGreaterThan(0.05);
    expect(seen.several).toBeGreaterThan(0);
  });
});

/** Everybody gives back what he has until nobody waits any more. */
async function finish(house: House): Promise<void> {
  for (let round = 0; round < 50; round++) {
    for (const one of house.people.values()) {
      for (const lease of one.leases.splice(0)) void lease.release();
    }
    for (let i = 0; i < 6; i++) await Promise.resolve();
    house.check();
    if (
      [...house.people.values()].every(({ pending, leases }) => pending === undefined && leases.length === 0)
    )
      return;
  }
  expect.unreachable('somebody still waits although nobody holds anything');
}

describe('a store across a network', () => {
  test('L2, L5, L6: whatever the order in which calls and answers travel, one holds at a time and nothing is left', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.scheduler(),
        fc.array(fc.tuple(fc.constantFrom('x', 'y'), fc.constantFrom('use', 'abort', 'leave')), {
          minLength: 2,
          maxLength: 6,
        }),
        async (s, uses) => {
          const desk = createDesk({ resourceTimeout: 60_000 }, (store) =>
            remoteLocks(store, async (label, call) => {
              await s.schedule(Promise.resolve(), `${label} sent`);
              const answer = call();
              await s.schedule(Promise.resolve(), `${label} answered`);
              return answer;
            }),
          );
          const inside = new Map<string, Lease>();
          const runs = uses.map(async ([resource, how], i) => {
            const abort = new AbortController();
            const agent = `agent-${i}`;
            if (how === 'abort')
              void s.schedule(Promise.resolve(), 'abort').then(() => abort.abort(new Error('enough')));
            if (how === 'leave')
              void s.schedule(Promise.resolve(), 'leave').then(() => desk.locks.agentLeft(agent));
            try {
              const lease = await desk.locks.acquire(resource, { owner: agent, signal: abort.signal });
              // Whoever is told to stop is inside no more.
              const working = inside.get(resource);
              expect(working === undefined || working.signal.aborted).toBe(true);
              inside.set(resource, lease);
              await s.schedule(Promise.resolve(), 'work');
              if (inside.get(resource) === lease) inside.delete(resource);
              await lease.release();
            } catch (error) {
              if (error instanceof Error && error.name === 'AssertionError') throw error;
            }
          });
          let open = true;
          const all = Promise.all(runs).finally(() => {
            open = false;
          });
          while (open) {
            await s.waitIdle();
            desk.clock.tick(1_000);
            await new Promise<void>((resolve) => setImmediate(resolve));
          }
          await all;
          await s.waitIdle();
          for (let i = 0; i < 3; i++) {
            await new Promise<void>((resolve) => setImmediate(resolve));
            await s.waitIdle();
          }
          expect(desk.store.live.counts()).toMatchObject({ held: 0, waiting: 0 });
        },
      ),
    );
  });
});
