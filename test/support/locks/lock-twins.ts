import assert from 'node:assert/strict';
import { MemoryLockStore } from '../../../src/backends/memory/lock-store.ts';
import { createMemoryCore } from '../../../src/backends/memory/memory-core.ts';
import type {
  GrantRef,
  LockAnswer,
  LockItem,
  LockMode,
  LockRelease,
  LockRequest,
  LockStore,
  WaitSnapshot,
} from '../../../src/core/ports/locks.ts';
import type { Sessions } from '../../../src/core/ports/sessions.ts';
import type { BackendTime, SessionNumber, Token } from '../../../src/core/ports/words.ts';
import { REPORT } from '../../../src/testing/suites/caller.ts';
import type { SuiteEnvironment } from '../../../src/testing/suites/suite.ts';
import { createTestClock } from '../../../src/testing/test-clock.ts';

/** A step on both stores; numbers pick from what is there. */
export type TwinStep =
  | {
      readonly do: 'ask';
      readonly caller: number;
      readonly wishes: readonly {
        readonly owner: string;
        readonly items: readonly LockItem[];
        readonly priority: number;
        readonly wait: boolean;
        readonly reentrant: boolean;
        readonly lease: boolean;
      }[];
    }
  | {
      readonly do: 'upgrade';
      readonly pick: number;
      readonly mode: 'exclusive' | 'update';
      readonly wait: boolean;
    }
  | {
      readonly do: 'end';
      readonly caller: number;
      readonly picks: readonly {
        readonly pick: number;
        readonly how: 'token' | 'bare' | 'stale' | 'down' | 'revoke' | 'cut';
      }[];
    }
  | { readonly do: 'keep'; readonly caller: number }
  | { readonly do: 'abort'; readonly pick: number; readonly witness: number }
  | { readonly do: 'pass'; readonly ms: number }
  | { readonly do: 'die'; readonly caller: number; readonly close: boolean };

/** One of the two stores, with its sessions and the tokens that it gave. */
interface Side {
  readonly name: string;
  readonly store: LockStore;
  readonly sessions: Sessions;
  readonly pass: (ms: number) => Promise<void>;
  readonly callers: { session: SessionNumber; sequence: number }[];
  readonly tokens: Map<string, Token>;
}

interface Known {
  readonly id: string;
  readonly caller: number;
  readonly request: LockRequest;
}

const ORDER = { ageStepMs: 97.3, maxOvertakes: 3 };
export const LEASE_MS = 4_000;

/** The memory store and another one, taken through the same steps: they must say the same all the time. */
export class LockTwins {
  readonly sides: readonly [memory: Side, other: Side];
  readonly counts = new Map<string, number>();
  readonly #known: Known[] = [];
  readonly #pictures = new Map<string, string>();
  readonly #upgraded = new Set<string>();
  /** When sessions run out, ms since the beginning. */
  readonly #due: number[] = [];
  #now = 0;
  #next = 0;

  constructor(env: SuiteEnvironment) {
    const clock = createTestClock();
    const core = createMemoryCore({ clock });
    const { locks, sessions } = env.backend;
    assert.ok(locks !== undefined && sessions !== undefined);
    const side = (name: string, store: LockStore, sessions: Sessions, pass: Side['pass']): Side => ({
      name,
      store,
      sessions,
      pass,
      callers: [],
      tokens: new Map(),
    });
    this.sides = [
      side('memory', new MemoryLockStore(core), core.sessions, (ms) => clock.advance(ms)),
      side('other', locks, sessions, (ms) => env.pass(ms)),
    ];
  }

  async start(): Promise<void> {
    for (const caller of [0, 1]) await this.#open(caller);
  }

  async run(step: TwinStep): Promise<void> {
    switch (step.do) {
      case 'ask': {
        const requests = step.wishes.map(({ lease, ...wish }) => this.#request({ ...wish, lease }));
        await this.#ask(step.caller, requests, () => undefined);
        break;
      }
      case 'upgrade':
        await this.#upgrade(step.pick, step.mode, step.wait);
        break;
      case 'end':
        await this.#end(step);
        break;
      case 'keep':
        await this.#keep(
          step.caller,
          this.#known.filter(({ caller }) => caller === step.caller),
        );
        break;
      case 'abort':
        await this.#abort(step.pick, step.witness);
        break;
      case 'pass':
        await this.#pass(step.ms);
        break;
      case 'die':
        await this.#die(step.caller, step.close);
    }
    await this.compare(step.do);
  }

  /** Gives back everything; then nothing must be left. */
  async drain(): Promise<void> {
    for (const { id, caller } of this.#known) {
      await this.both((side) => side.store.release(this.#op(side, caller), [{ id }]));
    }
    for (const { store, name } of this.sides)
      assert.deepEqual((await store.list({}, { limit: 100 })).items, [], `${name}: L6`);
  }

  // ── steps

  #request(wish: {
    readonly owner: string;
    readonly items: readonly LockItem[];
    readonly priority: number;
    readonly wait: boolean;
    readonly reentrant: boolean;
    readonly lease: boolean;
  }): LockRequest {
    const n = this.#next++;
    return {
      id: `q${n}`,
      items: wish.items,
      owner: { id: wish.owner, priority: wish.priority, since: 5 as BackendTime, defeats: 0 },
      priority: wish.priority,
      order: ORDER,
      wait: wish.wait,
      lease: wish.lease ? { leaseMs: 90 + n * 3.01 } : 'session',
      reentrant: wish.reentrant,
    };
  }

  async #ask(
    caller: number,
    requests: readonly LockRequest[],
    upgradeOf: (side: Side) => GrantRef | undefined,
  ): Promise<void> {
    // No two calls in one µs: who came first at different resources is nobody's business then.
    await this.#pass(1);
    const [model, found] = await this.both((side) => {
      const ref = upgradeOf(side);
      const sent = ref === undefined ? requests : requests.map((request) => ({ ...request, upgradeOf: ref }));
      return side.store.request(this.#op(side, caller), sent);
    });
    requests.forEach((request, i) => {
      this.#note(request, model.answers[i], found.answers[i]);
      this.#same(`answer to ${JSON.stringify(request)}`, model.answers[i], found.answers[i], true);
      if (model.answers[i]?.status === 'granted' || model.answers[i]?.status === 'waiting')
        this.#known.push({ id: request.id, caller, request });
    });
  }

  async #upgrade(pick: number, mode: 'exclusive' | 'update', wait: boolean): Promise<void> {
    const held = this.#known.filter(
      ({ id, request }) =>
        this.sides[0].tokens.has(id) && request.items.every((item) => typeof item.mode === 'string'),
    );
    const shared = held.filter(({ request }) => request.items.some((item) => item.mode === 'shared'));
    const from = shared.length > 1 ? shared : held;
    if (from.length === 0) return;
    const { id, caller, request } = from[pick % from.length] as Known;
    // It may be exclusive by now.
    const wanted = this.#upgraded.has(id) ? 'exclusive' : mode;
    const items = request.items.map(({ resource, mode: now }) => ({ resource, mode: upgraded(now, wanted) }));
    this.#upgraded.add(id);
    const up = { ...this.#request({ ...request, owner: request.owner.id, items, lease: false, wait }) };
    await this.#ask(caller, [up], (side) => ({ id, token: side.tokens.get(id) as Token }));
  }

  async #end({ caller, picks }: TwinStep & { readonly do: 'end' }): Promise<void> {
    if (this.#known.length === 0) return;
    const [model, found] = await this.both((side) =>
      side.store.release(
        this.#op(side, caller),
        picks.map(({ pick, how }): LockRelease => {
          const { id } = this.#known[pick % this.#known.length] as Known;
          const token = side.tokens.get(id);
          const ref = token === undefined ? { id } : { id, token };
          if (how === 'down') return { ...ref, downgradeTo: 'shared' };
          if (how === 'revoke') return { ...ref, revoke: { graceMs: 60, reason: `by ${pick}` } };
          if (how === 'cut') return { ...ref, revoke: { graceMs: 0, reason: `by ${pick}` } };
          if (how === 'stale') return { id, token: ((token ?? 7) - 1) as Token };
          return how === 'bare' ? { id } : ref;
        }),
      ),
    );
    this.#count(`ended ${model.ended.filter(Boolean).length > 0}`);
    this.#count(`granted by release: ${Math.min(model.granted.length, 3)}`);
    assert.deepEqual([found.ended, found.granted], [model.ended, model.granted], 'release');
  }

  async #keep(caller: number, refs: readonly Known[]): Promise<void> {
    if (refs.length === 0) return;
    const [model, found] = await this.both((side) => {
      const { session } = side.callers[caller] as Side['callers'][number];
      return side.store.keep(
        session,
        refs.map(({ id }) => ({ id })),
      );
    });
    refs.forEach(({ id, request }, i) => {
      this.#same(`keep ${id}`, model.answers[i], found.answers[i], false);
      this.#note(request, model.answers[i], found.answers[i]);
    });
  }

  async #abort(pick: number, witness: number): Promise<void> {
    const waits = await this.both(async ({ store }) =>
      (await store.snapshot()).resources
        .flatMap(({ queue }) => queue.map(({ wait }) => wait))
        .sort((a, b) => (a.id < b.id ? -1 : 1)),
    );
    const [model, found] = waits;
    if (model.length === 0) return;
    const [result, other] = await this.both((side) => {
      const own = side === this.sides[0] ? model : found;
      const wait = own[pick % own.length] as (typeof own)[number];
      const seen = own[witness % own.length] as (typeof own)[number];
      return side.store.abort(
        this.#op(side, 0),
        wait,
        [{ waiter: 'a', holder: 'b', by: 'lock', what: 'x' }],
        [seen],
      );
    });
    this.#count(`aborted ${result.aborted}`);
    assert.equal(other.aborted, result.aborted, 'abort');
  }

  /** In steps from one expiry to the next, so that both stores see them in the same order. */
  async #pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; ) {
      const { items } = await this.sides[0].store.list({}, { limit: 1_000 });
      const leases = items.flatMap(({ holders }) => holders.map(({ expiresInMs }) => expiresInMs));
      const sessions = this.#due.flatMap((due) => (due > this.#now ? [due - this.#now] : []));
      const step = Math.min(left, Math.max(1, Math.ceil(Math.min(...leases, ...sessions))));
      left -= step;
      this.#now += step;
      for (const side of this.sides) await side.pass(step);
      await this.#look();
    }
  }

  /** Everybody who waits asks. */
  async #look(callers: readonly number[] = [0, 1]): Promise<void> {
    for (const caller of callers) {
      const waits = this.#known.filter(
        (known) => known.caller === caller && !this.sides[0].tokens.has(known.id),
      );
      await this.#keep(caller, waits);
    }
  }

  async #die(caller: number, close: boolean): Promise<void> {
    if (close) {
      await this.both((side) =>
        side.sessions.close((side.callers[caller] as Side['callers'][number]).session),
      );
    } else {
      const other = 1 - caller;
      const half = LEASE_MS / 2 + 10;
      for (let i = 0; i < 2; i++) {
        await this.#pass(half);
        await this.#beat(other);
      }
    }
    await this.#look([1 - caller]);
    await this.#open(caller);
  }

  async #open(caller: number): Promise<void> {
    const boot = `caller ${caller} ${this.#next++}`;
    await this.both(async (side) => {
      const { session } = await side.sessions.open({ boot, leaseMs: LEASE_MS, writer: 1, report: REPORT });
      side.callers[caller] = { session, sequence: 0 };
    });
    this.#due[caller] = this.#now + LEASE_MS;
    if (this.sides[0].callers[1 - caller] !== undefined) await this.#beat(1 - caller);
  }

  async #beat(caller: number): Promise<void> {
    await this.both((side) =>
      side.sessions.beat((side.callers[caller] as Side['callers'][number]).session, REPORT),
    );
    this.#due[caller] = this.#now + LEASE_MS;
  }

  // ── comparing

  /** The same holders and queues; and no wait whose version stands still while something in front of it moves. */
  async compare(after: string): Promise<void> {
    const [model, found] = await this.both(({ store }) => store.snapshot());
    assert.deepEqual(picture(found), picture(model), `snapshot after ${after}`);
    const [list, others] = await this.both(({ store }) => store.list({}, { limit: 1_000 }));
    const rows = (items: typeof list.items): unknown =>
      items.map(({ resource, waiting, holders }) => [resource, waiting, holders.length]);
    assert.deepEqual(rows(others.items), rows(list.items), `list after ${after}`);
    for (const [name, snapshot] of [
      ['memory', model],
      ['other', found],
    ] as const) {
      for (const [wait, front] of fronts(snapshot)) {
        const key = `${name} ${wait}`;
        assert.equal(this.#pictures.get(key) ?? front, front, `a version of ${key} stood still`);
        this.#pictures.set(key, front);
      }
    }
  }

  /** Remembers the tokens that each store gave. */
  #note(request: LockRequest, ...answers: readonly (LockAnswer | undefined)[]): void {
    answers.forEach((answer, i) => {
      const side = this.sides[i] as Side;
      if (answer === undefined) return;
      if (answer.status !== 'granted') {
        if (answer.status !== 'waiting') side.tokens.delete(request.id);
        return;
      }
      side.tokens.set(answer.id, answer.token);
    });
  }

  #same(what: string, model: LockAnswer | undefined, found: LockAnswer | undefined, first: boolean): void {
    this.#count(model?.status === 'refused' ? `refused: ${model.why}` : `${model?.status}`);
    assert.deepEqual(brief(found, first), brief(model, first), what);
  }

  #count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }

  #op(side: Side, caller: number): { readonly session: SessionNumber; readonly sequence: number } {
    const known = side.callers[caller] as Side['callers'][number];
    known.sequence += 1;
    return { session: known.session, sequence: known.sequence };
  }

  private async both<R>(call: (side: Side) => R | Promise<R>): Promise<[memory: R, other: R]> {
    const [memory, other] = this.sides;
    return [await call(memory), await call(other)];
  }
}

/** Never to a weaker mode: core asks for none. */
function upgraded(now: LockMode, mode: 'exclusive' | 'update'): LockMode {
  if (now === 'intent-shared' || now === 'intent-exclusive') return 'intent-exclusive';
  return now === 'exclusive' ? now : mode;
}

/** What must be equal in two answers: everything but times, tokens and versions. */
function brief(answer: LockAnswer | undefined, first: boolean): unknown {
  switch (answer?.status) {
    case 'granted': {
      const { status, id, tokens, revoked } = answer;
      return { status, id, places: tokens.length, revoked };
    }
    case 'waiting': {
      const { status, wait, ahead, holders } = answer;
      const owners = [...new Set(holders.map(({ owner }) => owner))].sort();
      return { status, id: wait.id, ahead: first ? ahead : 0, owners: holders.length < 5 ? owners : 'many' };
    }
    case 'refused':
      return answer.why === 'reentrant' ? { why: answer.why, resource: answer.resource } : answer;
    default:
      return answer;
  }
}

function picture(snapshot: WaitSnapshot): unknown {
  return snapshot.resources
    .map(({ resource, capacity, held, queue }) => ({
      resource,
      capacity,
      held: held.map(({ owner, grant, mode }) => JSON.stringify([owner, grant.id, mode])).sort(),
      queue: queue.map(({ owner, wait, mode, upgradeOf }) =>
        JSON.stringify([owner, wait.id, mode, upgradeOf]),
      ),
    }))
    .sort((a, b) => (a.resource < b.resource ? -1 : 1));
}

/** For each wait and version: all holders of its resources, and all who wait in front of it. */
function fronts(snapshot: WaitSnapshot): Map<string, string> {
  const found = new Map<string, string>();
  for (const { resource, held, queue } of snapshot.resources) {
    const holders = held.map(({ grant, mode }) => `${grant.id} ${JSON.stringify(mode)}`).sort();
    queue.forEach(({ wait }, at) => {
      const key = `${wait.id} ${wait.version} ${resource}`;
      const ahead = queue.slice(0, at).map((other) => other.wait.id);
      found.set(key, JSON.stringify([holders, ahead]));
    });
  }
  return found;
}
