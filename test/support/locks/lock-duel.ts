import assert from 'node:assert/strict';
import { conflict } from '../../../src/core/lock-modes.ts';
import { isCoordinationError } from '../../../src/core/errors.ts';
import { EMPTY_REPORT } from '../../../src/core/empty-report.ts';
import type { LockAnswer, LockItem, LockStore } from '../../../src/core/ports/locks.ts';
import type { SessionNumber, Token } from '../../../src/core/ports/words.ts';
import { sessionsOf } from '../../../src/testing/suites/caller.ts';
import { requestOf } from '../../../src/testing/suites/locks/world.ts';
import { graphOf } from './snapshot-graph.ts';
import type { SuiteEnvironment } from '../../../src/testing/suites/suite.ts';

/** What is done to two lock stores at once. Numbers pick one of what exists. */
export type DuelStep =
  | {
      readonly do: 'ask';
      readonly who: number;
      readonly asks: readonly {
        readonly items: readonly LockItem[];
        readonly owner: string;
        readonly priority: number;
        readonly wait: boolean;
        readonly leaseMs?: number | undefined;
        readonly reentrant: boolean;
        readonly upgrade?: number | undefined;
      }[];
    }
  | {
      readonly do: 'end';
      readonly who: number;
      readonly picks: readonly number[];
      readonly how: 'give' | 'by id' | 'stale' | 'downgrade' | 'revoke' | 'revoke now';
    }
  | { readonly do: 'keep'; readonly who: number; readonly picks: readonly number[] }
  | { readonly do: 'abort'; readonly pick: number; readonly witness: number }
  | { readonly do: 'pass'; readonly times: number }
  | { readonly do: 'beat'; readonly who: number }
  | { readonly do: 'leave'; readonly who: number };

/** Time passes in pieces; every lease is a multiple. After each piece both stores are asked something, as a process that waits does. */
const PIECE_MS = 100;
/** No multiple of a piece: two waits never have ranks that differ by chance only. */
const ORDER = { ageStepMs: 97.3, maxOvertakes: 2 };
/** The first session outlives every run. */
const LEASES_MS = [24 * 3_600_000, 1_000, 700];

interface Known {
  readonly id: string;
  readonly who: number;
  readonly owner: string;
  /** Items of the grant that it asks for or converts. */
  readonly items: readonly LockItem[];
}

interface Side {
  readonly env: SuiteEnvironment;
  readonly locks: LockStore;
  readonly sessions: SessionNumber[];
  sequence: number[];
  /** By request: its last known token. */
  readonly tokens: Map<string, Token>;
}

/** Two lock stores that are asked the same, and must answer the same. */
export class LockDuel {
  readonly #sides: readonly [Side, Side];
  readonly #prefix: string;
  readonly #known: Known[] = [];
  /** Not known to be over. */
  readonly #live = new Set<Known>();
  /** Tokens on both sides. */
  readonly #pairs: { readonly known: Known; readonly model: number; readonly real: number }[] = [];
  #boots = 0;
  /** Two leases end at one moment: which of them first is for each store to say, and what comes of it. */
  isOpen = true;
  readonly seen: Record<string, number> = {};

  constructor(model: SuiteEnvironment, real: SuiteEnvironment, prefix: string) {
    const side = (env: SuiteEnvironment): Side => ({
      env,
      locks: env.backend.locks as LockStore,
      sessions: [],
      sequence: [],
      tokens: new Map(),
    });
    this.#sides = [side(model), side(real)];
    this.#prefix = prefix;
  }

  async open(): Promise<void> {
    for (let who = 0; who < LEASES_MS.length; who++) await this.#open(who);
  }

  async run(step: DuelStep): Promise<void> {
    switch (step.do) {
      case 'ask':
        return this.#ask(step);
      case 'end':
        return this.#end(step);
      case 'keep':
        return this.#keep(step.who, this.#pick(step.picks));
      case 'abort':
        return this.#abort(step.pick, step.witness);
      case 'pass':
        return this.#pass(step.times);
      case 'beat':
        await this.#both((side) => sessionsOf(side.env).beat(this.#of(side, step.who), EMPTY_REPORT));
        return undefined;
      default:
        await this.#both((side) => sessionsOf(side.env).close(this.#of(side, step.who)));
        return this.#open(step.who);
    }
  }

  /** Everything that is held and wanted, as both sides see it. */
  async compare(): Promise<void> {
    const [model, real] = await Promise.all(this.#sides.map((side) => this.#picture(side)));
    assert.deepEqual(real, model);
  }

  /** Ends all sessions. */
  async close(): Promise<void> {
    for (let who = 0; who < LEASES_MS.length; who++)
      await this.#both((side) => sessionsOf(side.env).close(this.#of(side, who)));
  }

  /** L6: nothing may be left of what sessions held and wanted that are over. */
  async checkRest(): Promise<void> {
    for (const side of this.#sides) {
      const { items } = await side.locks.list({ prefix: this.#prefix }, { limit: 100 });
      assert.deepEqual(items, []);
    }
  }

  async #open(who: number): Promise<void> {
    const boot = `${this.#prefix}-${this.#boots++}`;
    for (const side of this.#sides) {
      const request = { boot, leaseMs: LEASES_MS[who] as number, writer: 1, report: EMPTY_REPORT };
      const { session } = await sessionsOf(side.env).open(request);
      side.sessions[who] = session;
      side.sequence[who] = 0;
    }
  }

  async #ask({ who, asks }: Extract<DuelStep, { do: 'ask' }>): Promise<void> {
    const made = asks.map((ask) => {
      const upgrade = ask.upgrade === undefined ? undefined : this.#pick([ask.upgrade])[0];
      const known: Known = {
        id: `${this.#prefix}-q${this.#known.length}`,
        who: upgrade?.who ?? who,
        // Without a name: an owner of its own.
        owner: upgrade?.owner ?? (ask.owner === '' ? `solo-${this.#known.length}` : ask.owner),
        items:
          upgrade === undefined
            ? ask.items
            : upgrade.items.map((item) => ({ ...item, mode: stronger(item.mode, ask.priority) })),
      };
      this.#known.push(known);
      return { ask, known, upgrade };
    });
    const answers = await this.#both(async (side) => {
      const requests = made.map(({ ask, known, upgrade }) => {
        const items = known.items.map((item) => ({ ...item, resource: `${this.#prefix}${item.resource}` }));
        const token = upgrade === undefined ? undefined : side.tokens.get(upgrade.id);
        return requestOf(known.id, items, {
          owner: `${this.#prefix}${known.owner}`,
          agent: known.owner,
          priority: ask.priority,
          order: ORDER,
          wait: ask.wait,
          lease: ask.leaseMs === undefined ? 'session' : { leaseMs: ask.leaseMs },
          reentrant: ask.reentrant,
          ...(upgrade === undefined ? {} : { upgradeOf: { id: upgrade.id, token: token ?? (1 as Token) } }),
        });
      });
      const { answers: found } = await side.locks.request(
        this.#op(side, made[0]?.known.who ?? who),
        requests,
      );
      return found;
    });
    if (answers === undefined) return;
    made.forEach(({ known }, i) =>
      this.#same(known, answers[0][i] as LockAnswer, answers[1][i] as LockAnswer, true),
    );
    const innocent = made.filter((_, i) => {
      const answer = answers[1][i] as LockAnswer;
      // Of several, the later ones may wait for the first.
      return made.length === 1 && answer.status === 'waiting' && !answer.suspect;
    });
    if (innocent.length > 0)
      await this.#checkInnocent(innocent.map(({ known }) => `${this.#prefix}${known.owner}`));
  }

  /** Whoever is no suspect has nobody waiting for it. */
  async #checkInnocent(owners: readonly string[]): Promise<void> {
    const graph = graphOf(await this.#sides[1].locks.snapshot());
    for (const [waiter, needs] of graph)
      for (const { blockers } of needs)
        for (const { node } of blockers)
          if (waiter !== node)
            assert.ok(!owners.includes(node), `${waiter} waits for ${node}, which is no suspect`);
  }

  async #end({ who: anybody, picks, how }: Extract<DuelStep, { do: 'end' }>): Promise<void> {
    const known = this.#pick(picks);
    if (known.length === 0) return;
    const who = this.#whoAsks(known, anybody);
    const answers = await this.#both(async (side) => {
      const items = known.map(({ id }) => {
        const token = side.tokens.get(id);
        const current = token === undefined ? { id } : { id, token };
        if (how === 'by id') return { id };
        if (how === 'stale') return { id, token: 12 as Token };
        if (how === 'downgrade') return { ...current, downgradeTo: 'shared' as const };
        if (how === 'give') return current;
        const graceMs = how === 'revoke now' ? 0 : 200;
        return { ...current, revoke: { graceMs, reason: `by ${who}` } };
      });
      const { ended, granted } = await side.locks.release(this.#op(side, who), items);
      return { ended, granted: granted.toSorted() };
    });
    if (answers === undefined) return;
    assert.deepEqual(answers[1], answers[0]);
    this.#count(`end ${how} ${answers[0].ended.join()}`);
    if (answers[0].granted.length > 0) this.#count('handed on');
  }

  /** Mostly whose requests they are. */
  #whoAsks(known: readonly Known[], anybody: number): number {
    return this.#known.length % 5 === 0 ? anybody : (known[0] as Known).who;
  }

  async #keep(anybody: number, known: readonly Known[]): Promise<void> {
    if (known.length === 0) return;
    const who = this.#whoAsks(known, anybody);
    const answers = await this.#both(async (side) => {
      const refs = known.map(({ id }) => ({ id, token: side.tokens.get(id) }));
      return (await side.locks.keep(this.#of(side, who), refs)).answers;
    });
    if (answers !== undefined)
      known.forEach((one, i) =>
        this.#same(one, answers[0][i] as LockAnswer, answers[1][i] as LockAnswer, false),
      );
  }

  async #abort(pick: number, witness: number): Promise<void> {
    const answers = await this.#both(async (side) => {
      const { resources } = await side.locks.snapshot();
      const waits = new Map(
        resources
          .filter(({ resource }) => resource.startsWith(this.#prefix))
          .flatMap(({ queue }) => queue.map(({ wait }) => [wait.id, wait])),
      );
      const sorted = [...waits.keys()].toSorted().map((id) => waits.get(id));
      const victim = sorted[pick % sorted.length];
      const other = sorted[witness % sorted.length];
      if (victim === undefined || other === undefined) return undefined;
      const cycle = [{ waiter: victim.id, holder: other.id, by: 'lock' as const, what: 'x' }];
      const { aborted } = await side.locks.abort(this.#op(side, 0), victim, cycle, [other]);
      return { victim: victim.id, other: other.id, aborted };
    });
    assert.deepEqual(answers?.[1], answers?.[0]);
    if (answers?.[0] !== undefined) this.#count(`abort ${answers[0].aborted}`);
  }

  async #pass(times: number): Promise<void> {
    for (let i = 0; i < times; i++) {
      if ((await this.#endingSoon()) > 1) {
        this.isOpen = false;
        return;
      }
      await this.#both(async (side) => {
        await side.env.pass(PIECE_MS);
        await side.locks.keep(this.#of(side, 0), [{ id: 'nobody' }]);
      });
    }
    for (let who = 1; who < LEASES_MS.length; who++) {
      const alive = await this.#both(async (side) => {
        // Live ones come first.
        const { at, items } = await sessionsOf(side.env).list({ limit: 10 });
        return items.some(({ session, expiresAt }) => session === this.#of(side, who) && expiresAt > at);
      });
      assert.equal(alive?.[1], alive?.[0]);
      if (alive?.[0] === false) {
        this.#count('session expired');
        await this.#open(who);
      }
    }
  }

  /** How many leases end in the next piece of time. */
  async #endingSoon(): Promise<number> {
    const { env, locks } = this.#sides[0];
    const { items } = await locks.list({ prefix: this.#prefix }, { limit: 100 });
    const { at, items: sessions } = await sessionsOf(env).list({ limit: 10 });
    const grants = items.flatMap(({ holders }) =>
      holders.flatMap(({ grant, expiresInMs }) => (expiresInMs <= PIECE_MS ? [grant.id] : [])),
    );
    const ending = sessions.filter(({ expiresAt }) => expiresAt > at && expiresAt <= at + PIECE_MS * 1_000);
    return new Set(grants).size + ending.length;
  }

  /** @param isFirst the answer to the request: everything it says counts */
  #same(known: Known, model: LockAnswer, real: LockAnswer, isFirst: boolean): void {
    this.#count(
      `${isFirst ? 'asked' : 'kept'}: ${model.status}${model.status === 'refused' ? ` ${model.why}` : ''}`,
    );
    assert.deepEqual(this.#comparable(real), this.#comparable(model));
    if (model.status === 'waiting' && real.status === 'waiting') {
      if (isFirst) assert.equal(real.ahead, model.ahead, `${known.id}: ahead`);
      assert.equal(real.holders.length, model.holders.length, `${known.id}: holders`);
    }
    if (model.status === 'granted' || model.status === 'waiting') this.#live.add(known);
    else this.#live.delete(known);
    if (model.status !== 'granted' || real.status !== 'granted') return;
    // What an owner holds already keeps its token, and of several tokens stores may choose.
    if (known.owner.startsWith('solo')) this.#pair(known, model.token, real.token);
    for (const [side, grant] of [[this.#sides[0], model] as const, [this.#sides[1], real] as const]) {
      side.tokens.set(grant.id, grant.token);
    }
  }

  /** L1: of two grants that were in one another's way, the one with the larger token is the same on both sides. */
  #pair(known: Known, model: number, real: number): void {
    for (const other of this.#pairs) {
      if (!inTheWay(known.items, other.known.items)) continue;
      const sign = Math.sign(model - other.model);
      assert.equal(Math.sign(real - other.real), sign, `tokens of ${known.id} and ${other.known.id}`);
    }
    this.#pairs.push({ known, model, real });
  }

  #comparable(answer: LockAnswer): unknown {
    switch (answer.status) {
      case 'granted':
        return { ...answer, token: 0, tokens: answer.tokens.length };
      case 'waiting':
        return {
          status: 'waiting',
          id: answer.wait.id,
          // Which five, of more, is not said.
          holders: answer.holders.length > 4 ? 'many' : answer.holders.map(({ owner }) => owner).toSorted(),
        };
      case 'refused':
        // By which of its grants an owner holds the resource, of several, is not said.
        return answer.why === 'reentrant' ? { ...answer, held: this.#ownerOf(answer.held.id) } : answer;
      default:
        return answer;
    }
  }

  #ownerOf(id: string): string | undefined {
    return this.#known.find((known) => known.id === id)?.owner;
  }

  async #picture(side: Side): Promise<unknown> {
    const { resources, owners } = await side.locks.snapshot();
    const { items } = await side.locks.list({ prefix: this.#prefix }, { limit: 100 });
    const people = new Set<string>();
    const contended = resources
      .filter(({ resource }) => resource.startsWith(this.#prefix))
      .map(({ resource, capacity, held, queue }) => {
        for (const { owner } of [...held, ...queue]) people.add(owner);
        return {
          resource,
          capacity,
          held: held.map(({ owner, grant, mode }) => ({ owner, id: grant.id, mode })).toSorted(byId),
          queue: queue.map(({ owner, wait, mode, upgradeOf }) => ({ owner, id: wait.id, mode, upgradeOf })),
        };
      })
      .toSorted(byName);
    const rows = items
      .map(({ resource, holders, waiting, longestWaitMs }) => ({
        resource,
        waiting,
        longestWaitMs: Math.round(longestWaitMs),
        holders: holders
          .map(({ owner, grant, mode, heldForMs, expiresInMs }) => ({
            owner: owner.id,
            agent: owner.agent,
            id: grant.id,
            mode,
            heldForMs: Math.round(heldForMs),
            expiresInMs,
          }))
          .toSorted(byId),
      }))
      .toSorted(byName);
    const facts = owners.filter(({ id }) => people.has(id)).toSorted(byId);
    return { contended, rows, facts: facts.map(({ id, agent }) => ({ id, agent })) };
  }

  /** Mostly of what waits or is held as far as is known, sometimes of what is over. */
  #pick(picks: readonly number[]): Known[] {
    const found = picks.flatMap((pick) => {
      const from = pick % 8 > 0 && this.#live.size > 0 ? [...this.#live] : this.#known;
      return from.length === 0 ? [] : [from[pick % from.length] as Known];
    });
    return [...new Set(found)];
  }

  #of(side: Side, who: number): SessionNumber {
    return side.sessions[who] as SessionNumber;
  }

  #op(side: Side, who: number): { session: SessionNumber; sequence: number } {
    side.sequence[who] = (side.sequence[who] as number) + 1;
    return { session: this.#of(side, who), sequence: side.sequence[who] };
  }

  /** Does the same to both. `undefined`: both refused, with one code. */
  async #both<T>(act: (side: Side) => T | Promise<T>): Promise<readonly [T, T] | undefined> {
    const outcomes: { value?: T; code?: string }[] = [];
    for (const side of this.#sides) {
      try {
        outcomes.push({ value: await act(side) });
      } catch (error) {
        if (!isCoordinationError(error)) throw error;
        outcomes.push({ code: error.code });
      }
    }
    const [a, b] = outcomes as [{ value?: T; code?: string }, { value?: T; code?: string }];
    assert.equal(b.code, a.code);
    return a.code === undefined ? [a.value as T, b.value as T] : undefined;
  }

  #count(what: string): void {
    this.seen[what] = (this.seen[what] ?? 0) + 1;
  }
}

function stronger(mode: LockItem['mode'], how: number): LockItem['mode'] {
  if (typeof mode === 'object') return mode;
  if (mode.startsWith('intent')) return 'intent-exclusive';
  return how === 0 && mode === 'shared' ? 'update' : 'exclusive';
}

function inTheWay(a: readonly LockItem[], b: readonly LockItem[]): boolean {
  return a.some((one) =>
    b.some(
      (other) =>
        other.resource === one.resource && (typeof one.mode === 'object' || conflict(one.mode, other.mode)),
    ),
  );
}

function byId(a: { readonly id: string }, b: { readonly id: string }): number {
  return a.id < b.id ? -1 : 1;
}

function byName(a: { readonly resource: string }, b: { readonly resource: string }): number {
  return a.resource < b.resource ? -1 : 1;
}
