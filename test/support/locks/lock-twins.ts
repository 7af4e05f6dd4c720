import assert from 'node:assert/strict';
import { MemoryLockStore } from '../../../src/backends/memory/lock-store.ts';
import { createMemoryCore } from '../../../src/backends/memory/memory-core.ts';
import { EMPTY_REPORT } from '../../../src/core/empty-report.ts';
import type { GrantRef, LockAnswer, LockItem } from '../../../src/core/ports/locks.ts';
import type { SessionNumber, Token } from '../../../src/core/ports/words.ts';
import { requestOf } from '../../../src/testing/suites/locks/world.ts';
import type { SuiteEnvironment } from '../../../src/testing/suites/suite.ts';
import { createTestClock } from '../../../src/testing/test-clock.ts';
import type { TwinAsk, TwinEnd, TwinStep } from './lock-steps.ts';
import { factsOf, frontsOf, type TwinSide } from './twin-pictures.ts';
import { graphOf } from './snapshot-graph.ts';
import { inTheWay, releaseOf, upgraded } from './twin-requests.ts';

interface Known {
  readonly id: string;
  readonly who: number;
  readonly owner: string;
  /** Of the grant that it asks for or converts. */
  readonly items: readonly LockItem[];
}

interface Made {
  readonly known: Known;
  readonly ask: TwinAsk;
  readonly lease: 'session' | { readonly leaseMs: number };
  readonly upgradeOf: Known | undefined;
}

/** No multiple of any lease: two waits never have ranks that differ by chance only. */
const ORDER = { ageStepMs: 97.3, maxOvertakes: 3 };
/** The first session outlives every run. */
const LEASES_MS = [24 * 3_600_000, 1_000, 720];

/**
 * The memory store and another one, taken through the same steps: they must say the same all the time. Not compared, because the port doesn't
 * promise it: which five holders of more are named, by which of its grants an owner holds something, and in which order one step names
 * those that it grants.
 */
export class LockTwins {
  readonly counts = new Map<string, number>();
  /** False: two leases have ended in one ms. Which of them first is for each store to say, and so what comes of it. */
  isOpen = true;
  readonly #sides: readonly [memory: TwinSide, other: TwinSide];
  readonly #known: Known[] = [];
  /** Not known to be over. */
  readonly #live = new Set<Known>();
  /** Upgraded once: the next time only to the strongest. Core never asks for a weaker mode, and no store looks for whom that would let in. */
  readonly #upgraded = new Set<string>();
  /** Tokens on both sides. */
  readonly #pairs: { readonly known: Known; readonly model: number; readonly found: number }[] = [];
  /** Of each wait and version: who was in its way. */
  readonly #fronts = new Map<string, string>();
  /** When sessions run out, ms since the beginning. */
  readonly #due: number[] = [];
  #now = 0;
  #next = 0;

  constructor(env: SuiteEnvironment) {
    const clock = createTestClock();
    const core = createMemoryCore({ clock });
    const { locks, sessions } = env.backend;
    assert.ok(locks !== undefined && sessions !== undefined);
    const more = { callers: [], tokens: new Map<string, Token>() };
    this.#sides = [
      {
        name: 'memory',
        locks: new MemoryLockStore(core),
        sessions: core.sessions,
        pass: (ms) => clock.advance(ms),
        ...more,
      },
      { name: 'other', locks, sessions, pass: (ms) => env.pass(ms), callers: [], tokens: new Map() },
    ];
  }

  async start(): Promise<void> {
    for (const who of LEASES_MS.keys()) await this.#open(who);
  }

  async run(step: TwinStep): Promise<void> {
    switch (step.do) {
      case 'ask':
        await this.#ask(step.who, step.asks);
        break;
      case 'end':
        await this.#end(step.who, step.picks);
        break;
      case 'keep': {
        const known = [...new Set(step.picks.flatMap((pick) => this.#pick(pick)))];
        await this.#keep(this.#whoAsks(known, step.who), known, true);
        break;
      }
      case 'abort':
        await this.#abort(step.pick, step.witness);
        break;
      case 'pass':
        await this.#pass(step.ms);
        break;
      case 'beat':
        await this.#beat(step.who);
        break;
      case 'leave':
        await this.#both((side) => side.sessions.close(sessionOf(side, step.who)));
        await this.#open(step.who);
    }
    if (this.isOpen) await this.#compare(step.do);
  }

  /** Ends everything, one way or the other; then nothing must be left (L6). */
  async drain(): Promise<void> {
    if (this.#next % 2 === 0) {
      for (const { id, who } of this.#known)
        await this.#both((side) => side.locks.release(this.#op(side, who), [{ id }]));
    } else {
      for (const who of LEASES_MS.keys())
        await this.#both((side) => side.sessions.close(sessionOf(side, who)));
    }
    for (const { locks, name } of this.#sides)
      assert.deepEqual((await locks.list({}, { limit: 100 })).items, [], `${name}: L6`);
  }

  // ── steps

  async #ask(who: number, asks: readonly TwinAsk[]): Promise<void> {
    // No two calls in one µs: who came first at different resources is nobody's business then.
    await this.#pass(1);
    const made: Made[] = [];
    let sender = who;
    for (const ask of asks) {
      const one = this.#make(sender, ask);
      if (made.length === 0) sender = one.known.who;
      made.push(one);
    }
    const [model, found] = await this.#both((side) => {
      const requests = made.map(({ known, ask, lease, upgradeOf }) => {
        const ref: GrantRef | undefined = upgradeOf && {
          id: upgradeOf.id,
          token: side.tokens.get(upgradeOf.id) ?? (1 as Token),
        };
        return requestOf(known.id, known.items, {
          owner: known.owner,
          agent: `agent of ${known.owner}`,
          since: 5,
          priority: ask.priority,
          order: ORDER,
          wait: ask.wait,
          reentrant: ask.reentrant,
          lease,
          ...(ref === undefined ? {} : { upgradeOf: ref }),
        });
      });
      return side.locks.request(this.#op(side, sender), requests);
    });
    for (const [i, { known }] of made.entries()) this.#same(known, model.answers[i], found.answers[i], true);
    // Behind the others of its batch somebody may wait who came later.
    const [last, answer] = [made.at(-1)?.known.owner, found.answers.at(-1)];
    if (last !== undefined && answer?.status === 'waiting' && !answer.suspect)
      await this.#checkInnocent(last);
  }

  #make(who: number, ask: TwinAsk): Made {
    const n = this.#next++;
    const upgradeOf = this.#toUpgrade(ask);
    const known: Known =
      upgradeOf === undefined
        ? { id: `q${n}`, who, owner: ask.owner === '' ? `solo-${n}` : ask.owner, items: ask.items }
        : {
            id: `q${n}`,
            who: upgradeOf.who,
            owner: upgradeOf.owner,
            items: upgradeOf.items.map(({ resource, mode }) => ({
              resource,
              mode: upgraded(mode, this.#upgraded.has(upgradeOf.id) ? 'exclusive' : ask.upgrade?.mode),
            })),
          };
    if (upgradeOf !== undefined) this.#upgraded.add(upgradeOf.id);
    this.#known.push(known);
    return { known, ask, lease: ask.lease ? { leaseMs: 90 + n * 3.01 } : 'session', upgradeOf };
  }

  /** Mostly of what is held in a shared mode, so that two upgrades meet. Never of units, which have no modes to change: core refuses that. */
  #toUpgrade({ upgrade }: TwinAsk): Known | undefined {
    if (upgrade === undefined) return undefined;
    const held = [...this.#live].filter(
      ({ id, items }) => this.#sides[0].tokens.has(id) && items.every(({ mode }) => typeof mode === 'string'),
    );
    const shared = held.filter(({ items }) => items.some(({ mode }) => mode === 'shared'));
    const from = shared.length > 1 ? shared : held;
    return from[upgrade.pick % from.length];
  }

  async #end(
    anybody: number,
    picks: readonly { readonly pick: number; readonly how: TwinEnd }[],
  ): Promise<void> {
    const ends = picks.flatMap(({ pick, how }) => this.#pick(pick).map((known) => ({ known, how })));
    if (ends.length === 0) return;
    const who = this.#whoAsks(
      ends.map(({ known }) => known),
      anybody,
    );
    const n = this.#next++;
    const [model, found] = await this.#both(async (side) => {
      const items = ends.map(({ known, how }, i) =>
        releaseOf(known.id, side.tokens.get(known.id), how, n + i / 100),
      );
      const { ended, granted } = await side.locks.release(this.#op(side, who), items);
      return { ended, granted: granted.toSorted() };
    });
    assert.deepEqual(found, model, `release ${JSON.stringify(ends)}`);
    ends.forEach(({ how }, i) => this.#count(`${how}: ${model.ended[i]}`));
    if (model.granted.length > 0) this.#count('handed on');
  }

  /** @param withTokens and so only what has the token that is known */
  async #keep(who: number, known: readonly Known[], withTokens: boolean): Promise<void> {
    if (known.length === 0) return;
    const [model, found] = await this.#both((side) =>
      side.locks.keep(
        sessionOf(side, who),
        known.map(({ id }) => (withTokens ? { id, token: side.tokens.get(id) } : { id })),
      ),
    );
    known.forEach((one, i) => this.#same(one, model.answers[i], found.answers[i], false, one.who !== who));
  }

  async #abort(pick: number, witness: number): Promise<void> {
    const results = await this.#both(async (side) => {
      const { resources } = await side.locks.snapshot();
      const waits = new Map(resources.flatMap(({ queue }) => queue.map(({ wait }) => [wait.id, wait])));
      const sorted = [...waits.keys()].toSorted().flatMap((id) => waits.get(id) ?? []);
      const victim = sorted[pick % sorted.length];
      const other = sorted[witness % sorted.length];
      if (victim === undefined || other === undefined) return undefined;
      const cycle = [{ waiter: victim.id, holder: other.id, by: 'lock' as const, what: 'x' }];
      const { aborted } = await side.locks.abort(this.#op(side, 0), victim, cycle, [other]);
      return { victim: victim.id, other: other.id, aborted };
    });
    assert.deepEqual(results[1], results[0], 'abort');
    if (results[0] !== undefined) this.#count(`aborted: ${results[0].aborted}`);
  }

  /** In steps from one end of a lease to the next; after each, everybody who waits asks. */
  async #pass(ms: number): Promise<void> {
    for (let left = ms; left > 0 && this.isOpen; ) {
      const { items } = await this.#sides[0].locks.list({}, { limit: 1_000 });
      const leases = new Map(
        items.flatMap(({ holders }) => holders.map(({ grant, expiresInMs }) => [grant.id, expiresInMs])),
      );
      const ends = [...leases.values(), ...this.#due.map((due) => due - this.#now)];
      const step = Math.min(left, Math.max(1, Math.ceil(Math.min(...ends))));
      if (ends.filter((end) => end <= step).length > 1) {
        this.isOpen = false;
        this.#count('left off');
        return;
      }
      left -= step;
      this.#now += step;
      for (const side of this.#sides) await side.pass(step);
      await this.#look();
    }
  }

  async #look(): Promise<void> {
    for (const [who, due] of this.#due.entries()) {
      if (due > this.#now) continue;
      this.#count('session expired');
      await this.#open(who);
    }
    for (const who of LEASES_MS.keys()) {
      const waits = [...this.#live].filter(
        (known) => known.who === who && !this.#sides[0].tokens.has(known.id),
      );
      await this.#keep(who, waits, false);
    }
  }

  async #open(who: number): Promise<void> {
    const leaseMs = LEASES_MS[who] as number;
    const boot = `caller ${who} ${this.#next++}`;
    await this.#both(async (side) => {
      const { session } = await side.sessions.open({ boot, leaseMs, writer: 1, report: EMPTY_REPORT });
      side.callers[who] = { session, sequence: 0 };
    });
    this.#due[who] = this.#now + leaseMs;
  }

  async #beat(who: number): Promise<void> {
    const answers = await this.#both((side) => side.sessions.beat(sessionOf(side, who), EMPTY_REPORT));
    assert.equal(answers[1].status, answers[0].status);
    this.#due[who] = this.#now + (LEASES_MS[who] as number);
  }

  // ── comparing

  /** The same holders and queues; and no wait whose version stands still while what is in its way moves. */
  async #compare(after: string): Promise<void> {
    const [model, found] = await this.#both(async (side) => {
      const snapshot = await side.locks.snapshot();
      return { snapshot, facts: factsOf(snapshot, await side.locks.list({}, { limit: 1_000 })) };
    });
    assert.deepEqual(found.facts, model.facts, `after ${after}`);
    for (const [name, { snapshot }] of [
      ['memory', model],
      ['other', found],
    ] as const) {
      for (const [wait, front] of frontsOf(snapshot)) {
        const key = `${name} ${wait}`;
        assert.equal(this.#fronts.get(key) ?? front, front, `a version of ${key} stood still`);
        this.#fronts.set(key, front);
      }
    }
  }

  /**
   * @param isFirst the answer to the request: everything that it says counts
   * @param isStranger somebody else asks, who is told nothing
   */
  #same(
    known: Known,
    model: LockAnswer | undefined,
    found: LockAnswer | undefined,
    isFirst: boolean,
    isStranger = false,
  ): void {
    assert.ok(model !== undefined && found !== undefined);
    this.#count(model.status === 'refused' ? `refused: ${model.why}` : model.status);
    const what = `${isFirst ? 'request' : 'keep'} ${JSON.stringify(known)}`;
    assert.deepEqual(this.#brief(found, isFirst), this.#brief(model, isFirst), what);
    if (isStranger) return;
    if (model.status === 'granted' || model.status === 'waiting') this.#live.add(known);
    else this.#live.delete(known);
    if (model.status !== 'granted' || found.status !== 'granted') return;
    this.#sides[0].tokens.set(model.id, model.token);
    this.#sides[1].tokens.set(found.id, found.token);
    // An upgrade lives on in what it converted.
    if (model.id !== known.id) this.#live.delete(known);
    // What an owner holds already keeps its token, and of several tokens stores may choose.
    if (known.owner.startsWith('solo')) this.#pair(known, model.token, found.token);
  }

  #brief(answer: LockAnswer, isFirst: boolean): unknown {
    switch (answer.status) {
      case 'granted': {
        const { status, id, tokens, revoked } = answer;
        return { status, id, places: tokens.length, revoked };
      }
      case 'waiting': {
        const { status, wait, ahead, holders } = answer;
        const owners = [...new Set(holders.map(({ owner }) => owner))].toSorted();
        return {
          status,
          id: wait.id,
          ahead: isFirst ? ahead : 0,
          owners: holders.length < 5 ? owners : 'many',
        };
      }
      case 'refused':
        return answer.why === 'reentrant'
          ? { ...answer, held: this.#known.find(({ id }) => id === answer.held.id)?.owner }
          : answer;
      default:
        return answer;
    }
  }

  /** L1: of two grants that were in one another's way, the one with the larger token is the same on both sides. */
  #pair(known: Known, model: number, found: number): void {
    for (const other of this.#pairs) {
      if (!inTheWay(known.items, other.known.items)) continue;
      const sign = Math.sign(model - other.model);
      const what = `tokens of ${JSON.stringify(known)} and ${JSON.stringify(other.known)}`;
      assert.equal(Math.sign(found - other.found), sign, what);
    }
    this.#pairs.push({ known, model, found });
  }

  /** Whoever is no suspect has nobody waiting for it. */
  async #checkInnocent(owner: string): Promise<void> {
    for (const [waiter, needs] of graphOf(await this.#sides[1].locks.snapshot()))
      for (const { blockers } of needs)
        for (const { node } of blockers)
          assert.ok(waiter === owner || node !== owner, `${waiter} waits for ${owner}, which is no suspect`);
  }

  // ── words

  /** Mostly of what waits or is held as far as is known, sometimes of what is over. */
  #pick(pick: number): Known[] {
    const from = pick % 8 > 0 && this.#live.size > 0 ? [...this.#live] : this.#known;
    return from.length === 0 ? [] : [from[pick % from.length] as Known];
  }

  /** Mostly whose requests they are. */
  #whoAsks(known: readonly Known[], anybody: number): number {
    return this.#known.length % 5 === 0 ? anybody : (known[0]?.who ?? anybody);
  }

  #count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }

  #op(side: TwinSide, who: number): { readonly session: SessionNumber; readonly sequence: number } {
    const caller = side.callers[who] as TwinSide['callers'][number];
    caller.sequence += 1;
    return { session: caller.session, sequence: caller.sequence };
  }

  async #both<R>(call: (side: TwinSide) => R | Promise<R>): Promise<[memory: R, other: R]> {
    const [memory, other] = this.#sides;
    return [await call(memory), await call(other)];
  }
}

function sessionOf(side: TwinSide, who: number): SessionNumber {
  return (side.callers[who] as TwinSide['callers'][number]).session;
}
