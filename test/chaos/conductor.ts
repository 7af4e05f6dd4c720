import { setTimeout as sleep } from 'node:timers/promises';
import { createRandom } from '../../src/core/runtime/random.ts';
import { CoordinationManager } from '../../src/index.ts';
import type { Evidence, Fault, Problem, Rest, Sample } from './checks/evidence.ts';
import type { Crew, Place } from './crew.ts';
import { Journal, now, readJournals } from './journal.ts';
import type { Ledger } from './ledger.ts';
import type { Observer } from './observer.ts';
import { type Amounts, planRound, type Step, type Tally } from './plan.ts';
import type { ChaosServer } from './server.ts';
import { backendOf, PATIENT_MS, type World } from './world.ts';

const SAMPLE_MS = 250;
/** What has been sent by a frozen process is given a moment to arrive. */
const ARRIVAL_MS = 15;
/** Longest time until everything rests, ms: longer than any call may take. */
const REST_MS = 40_000;

export interface ConductorParts {
  readonly world: World;
  readonly server: ChaosServer;
  readonly crew: Crew;
  readonly observer: Observer;
  readonly ledger: Ledger;
  readonly folder: string;
  readonly seed: string;
  readonly leaseMs: number;
  readonly slots: number;
  readonly amounts: Amounts;
  readonly signal: AbortSignal;
  readonly say: (text: string) => void;
}

/** Breaks things by the plan, lets everything come to rest, and gathers the evidence. */
export class Conductor {
  readonly tally: Tally = { kills: 0, freezes: 0, partitions: 0, servers: 0, cuts: 0, clocks: 0, poison: 0 };
  /** Problems that aren't found in the evidence: what did not come to rest. */
  readonly problems: Problem[] = [];
  readonly #parts: ConductorParts;
  readonly #faults: Fault[] = [];
  readonly #samples: Sample[] = [];
  readonly #rests: Rest[] = [];
  readonly #journal: Journal;
  #stallMs = 0;
  #isServerBusy = false;

  constructor(parts: ConductorParts) {
    this.#parts = parts;
    this.#journal = new Journal(parts.folder, 'office');
    parts.crew.onSuicide = (_place, p) => {
      this.tally.poison += 1;
      this.tally.kills += 1;
      this.#faults.push({ f: 'kill', p, t: now(), at: Date.now() * 1_000, session: 0, tasks: [] });
    };
  }

  /** One round of faults, then rest. */
  async round(number: number): Promise<void> {
    const { seed, amounts, leaseMs, crew, signal } = this.#parts;
    const steps = planRound(seed, number, amounts, leaseMs);
    const random = createRandom(`round ${seed} ${number}`);
    const pick = (): number => Math.floor(random.next() * crew.places.length);
    const over = new AbortController();
    const watching = [this.#watchStore(over.signal), this.#watchStalls(over.signal)];
    const started = performance.now();
    const lasting: Promise<void>[] = [];
    for (const step of steps) {
      signal.throwIfAborted();
      await sleep(Math.max(0, step.at - (performance.now() - started)));
      const done = this.#step(step, pick).catch((error: unknown) => this.#failed(step, error));
      if (step.do === 'kill') await done;
      else lasting.push(done);
    }
    await Promise.all(lasting);
    over.abort();
    await Promise.all(watching);
    await this.#rest();
  }

  /** Everything that has been recorded so far. */
  async evidence(): Promise<Evidence> {
    const { observer, ledger, folder, leaseMs, slots } = this.#parts;
    const orders = await ledger.orders();
    return {
      entries: readJournals(folder),
      faults: this.#faults,
      history: await observer.history(),
      tasks: await observer.tasks(),
      reading: await observer.read(),
      effects: await ledger.effects(),
      writes: await ledger.writes(),
      ...(orders === undefined ? {} : { orders }),
      samples: this.#samples,
      rests: this.#rests,
      leaseMs,
      slots,
      stallMs: Math.round(this.#stallMs),
    };
  }

  close(): void {
    this.#journal.close();
  }

  #failed(step: Step, error: unknown): void {
    const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.problems.push({ invariant: 'G2', what: `the step ${JSON.stringify(step)} failed: ${what}` });
  }

  #step(step: Step, pick: () => number): Promise<void> {
    switch (step.do) {
      case 'kill':
        return this.#kill(pick());
      case 'poison':
        return this.#poison();
      case 'freeze':
        return this.#freeze(pick(), step.ms);
      case 'partition':
        return this.#partition(pick(), step.ms, step.manner);
      case 'server':
        return this.#killServer(step.downMs);
      case 'cut':
        return this.#cut(pick(), step.count);
      case 'clock':
        return this.#setClock(step.byMs);
    }
  }

  /** A place that works and to which nothing else is done, from this one on; waits until there is one, and somebody else as well. */
  async #free(from: number): Promise<Place | undefined> {
    const { places } = this.#parts.crew;
    for (let tries = 0; tries < 400; tries++) {
      const free = places.filter(({ state, isBusy }) => state === 'working' && !isBusy);
      const next = [...places.slice(from), ...places.slice(0, from)].find((place) => free.includes(place));
      if (next !== undefined && free.length > 1) return next;
      await sleep(50);
    }
    this.problems.push({ invariant: 'G6', what: 'no process became ready within 20 s' });
    return undefined;
  }

  async #kill(from: number): Promise<void> {
    const { crew, observer } = this.#parts;
    const place = await this.#free(from);
    if (place === undefined) return;
    place.isBusy = true;
    const { p } = place;
    crew.freeze(place);
    await sleep(ARRIVAL_MS);
    const t = now();
    // The store may be away: then nobody knows what it was running.
    const unknown = { at: Date.now() * 1_000, session: 0, tasks: [] };
    const wreck = await observer.claimsOf(place.child?.pid ?? 0).catch(() => unknown);
    crew.kill(place);
    this.#faults.push({ f: 'kill', p, t, ...wreck });
    this.tally.kills += 1;
    place.isBusy = false;
  }

  /** A task that kills whoever runs it. */
  async #poison(): Promise<void> {
    const { world } = this.#parts;
    await using mesh = await CoordinationManager.start({
      backend: backendOf(world, world.direct, PATIENT_MS),
      metrics: false,
    });
    this.#journal.note({ e: 'submit', n: 1, kind: 'poison', task: 'poison' });
    const spec = { id: 'poison', type: 'poison', queue: 'work', input: {}, priority: 10 };
    const handle = await mesh.submitTask({ ...spec, metadata: { by: 'office', n: 1 }, keepMs: 3_600_000 });
    this.#journal.note({ e: 'submitted', n: 1, task: handle.id });
  }

  async #freeze(from: number, ms: number): Promise<void> {
    const { crew } = this.#parts;
    const place = await this.#free(from);
    if (place === undefined) return;
    place.isBusy = true;
    const { p } = place;
    const t = now();
    crew.freeze(place);
    await sleep(ms);
    const until = now();
    crew.thaw(place);
    place.isBusy = false;
    this.#faults.push({ f: 'freeze', p, t, until });
    this.tally.freezes += 1;
  }

  async #partition(from: number, ms: number, manner: 'held' | 'refusing'): Promise<void> {
    const place = await this.#free(from);
    if (place === undefined) return;
    place.isBusy = true;
    const { p } = place;
    const t = now();
    place.proxy.be(manner);
    await sleep(ms);
    place.proxy.be('forwarding');
    place.isBusy = false;
    // Its connections are made again a little later.
    this.#faults.push({ f: 'partition', p, t, until: now() + 1_000 });
    this.tally.partitions += 1;
  }

  async #killServer(downMs: number): Promise<void> {
    const { server } = this.#parts;
    while (this.#isServerBusy) await sleep(50);
    this.#isServerBusy = true;
    const t = now();
    await server.kill9();
    await sleep(downMs);
    await server.restart();
    this.#isServerBusy = false;
    this.#faults.push({ f: 'server', p: '*', t, until: now() + 1_500 });
    this.tally.servers += 1;
  }

  /** So many replies of one process are lost, whatever they answer. */
  async #cut(from: number, count: number): Promise<void> {
    const place = this.#parts.crew.places[from];
    if (place === undefined) return;
    for (let i = 0; i < count; i++) {
      const before = place.proxy.cuts;
      const t = now();
      place.proxy.cutReplies(1);
      for (let waited = 0; waited < 100 && place.proxy.cuts === before; waited++) await sleep(20);
      if (place.proxy.cuts === before) place.proxy.cutReplies(0);
      this.#faults.push({ f: 'cut', p: place.p, t, until: now() });
      this.tally.cuts += place.proxy.cuts - before;
    }
  }

  async #setClock(byMs: number): Promise<void> {
    const { crew } = this.#parts;
    if (crew.clock === undefined) return;
    crew.clock.set(byMs);
    this.#faults.push({ f: 'clock', p: crew.places[0]?.p ?? '', t: now(), byMs });
    this.tally.clocks += 1;
  }

  async #watchStore(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        this.#samples.push(await this.#parts.observer.sample());
      } catch {
        // The store is away.
      }
      await sleep(SAMPLE_MS);
    }
  }

  async #watchStalls(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const before = now();
      await sleep(20);
      this.#stallMs = Math.max(this.#stallMs, now() - before - 20);
    }
  }

  /** Nothing new is begun; what was, ends. */
  async #rest(): Promise<void> {
    const { crew, observer } = this.#parts;
    const restless = await crew.calm(REST_MS);
    for (const p of restless)
      this.problems.push({ invariant: 'G2', what: 'it did not come to rest', about: p });
    const end = performance.now() + REST_MS;
    let last: Rest | undefined;
    while (performance.now() < end) {
      try {
        last = await observer.rest();
        if (last.holders + last.waiters + last.letters + unended(last.sample) === 0) break;
      } catch {
        // It has just come back.
      }
      await sleep(100);
    }
    // Settlements that nobody waits for.
    await sleep(700);
    this.#rests.push(last === undefined ? await observer.rest() : await observer.rest().catch(() => last));
  }
}

function unended({ states }: Sample): number {
  const { waiting = 0, scheduled = 0, ready = 0, claimed = 0 } = states as Record<string, number>;
  return waiting + scheduled + ready + claimed;
}
