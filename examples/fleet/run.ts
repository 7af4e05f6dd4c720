import { setTimeout as sleep } from 'node:timers/promises';
import { CoordinationManager } from '../../src/index.ts';
import type { Backend } from '../../src/core/ports/backend.ts';
import type { Transition } from '../../src/core/ports/tasks.ts';
import type { BackendTime, Cursor, SessionNumber } from '../../src/core/ports/words.ts';
import type { FleetOptions } from './command-line.ts';
import { Fleet, type Place } from './fleet.ts';
import { type LedgerRow, openLedger } from './ledger.ts';
import { recoveries, type Wreck } from './recoveries.ts';
import { backendOf, type World } from './world.ts';

const QUEUE = 'effect';
/** A pause ends when the lease has been over for this part of it. */
const PAST_LEASE = 1.5;
/** How often the fleet is looked at, ms. */
const LOOK_MS = 100;

/** What one run showed. */
export interface FleetRun {
  readonly done: number;
  readonly dead: number;
  readonly lost: number;
  readonly duplicates: number;
  readonly attempts: number;
  readonly reclaimed: number;
  readonly fencedOff: number;
  readonly kills: number;
  readonly pauses: number;
  readonly recoveryMs: { readonly p50: number; readonly max: number };
  readonly durationMs: number;
}

/** How far a run has come. */
export interface Standing {
  readonly states: Readonly<Record<string, number>>;
  readonly places: readonly Place[];
  readonly kills: number;
  readonly pauses: number;
}

/** What the numbers of a run were counted from. */
export interface Evidence {
  readonly ledger: readonly LedgerRow[];
  readonly history: readonly Transition[];
}

type Plan = Pick<
  FleetOptions,
  'workers' | 'tasks' | 'taskMs' | 'leaseMs' | 'killEveryMs' | 'kills' | 'pauses'
>;

/** Runs all tasks on a fleet that is killed and paused, and counts what became of them. */
export async function runFleet(
  world: World,
  fenced: boolean,
  plan: Plan,
  show: (standing: Standing) => void,
  signal: AbortSignal,
): Promise<FleetRun & { readonly evidence: Evidence }> {
  const started = performance.now();
  const backend = backendOf(world);
  // The same task may be under way in several of the processes killed here, through no fault of its own: it is not to be given up as poison.
  const maxCrashes = plan.kills + plan.pauses;
  const mesh = await CoordinationManager.start({ backend, scheduling: { maxCrashes } });
  // After the mesh has started: what is wrong with the address is said by that, and nothing is open yet.
  const ledger = openLedger(world);
  const fleet = new Fleet({ world, taskMs: plan.taskMs, leaseMs: plan.leaseMs, fenced });
  try {
    await ledger.prepare();
    await mesh.submitTasks(
      Array.from({ length: plan.tasks }, (_, i) => ({ id: `task-${i}`, type: QUEUE, input: { number: i } })),
    );
    await fleet.start(plan.workers);
    const chaos = new Chaos(backend, fleet, plan);
    for (;;) {
      signal.throwIfAborted();
      const states = await statesOf(backend);
      show({ states, places: fleet.places, kills: chaos.wrecks.length, pauses: chaos.pauses });
      if ((states['completed'] ?? 0) + (states['dead'] ?? 0) === plan.tasks) break;
      await chaos.step();
      await sleep(LOOK_MS);
    }
    // Whoever was paused wakes up and finds out that it is too late.
    await chaos.end();
    const history = await wholeHistory(backend);
    const states = await statesOf(backend);
    await explainDead(mesh);
    const rows = await ledger.rows();
    const distinct = new Set(rows.map(({ task }) => task)).size;
    const times = recoveries(chaos.wrecks, chaos.fallen, history).toSorted((a, b) => a - b);
    return {
      done: states['completed'] ?? 0,
      dead: states['dead'] ?? 0,
      lost: plan.tasks - distinct,
      duplicates: rows.length - distinct,
      attempts: history.filter(({ from, to }) => from === 'ready' && to === 'claimed').length,
      reclaimed: history.filter(({ from, to }) => from === 'claimed' && to === 'claimed').length,
      fencedOff: await ledger.refused(),
      kills: chaos.wrecks.length,
      pauses: chaos.pauses,
      recoveryMs: { p50: Math.round(times[times.length >> 1] ?? 0), max: Math.round(times.at(-1) ?? 0) },
      durationMs: Math.round(performance.now() - started),
      evidence: { ledger: rows, history },
    };
  } finally {
    await fleet.stop();
    await mesh.shutdown();
    // A server that can't be reached any more keeps what it has.
    await ledger.drop().catch(() => undefined);
    await ledger.close();
  }
}

/** Kills and pauses workers, one at a time, in turn. */
class Chaos {
  readonly wrecks: Wreck[] = [];
  /** Sessions whose processes were killed or paused. */
  readonly fallen = new Set<SessionNumber>();
  pauses = 0;
  readonly #backend: Backend;
  readonly #fleet: Fleet;
  readonly #plan: Plan;
  #nextKillAt = performance.now();
  #nextPlace = 0;
  #paused: { readonly place: Place; readonly until: number } | undefined;

  constructor(backend: Backend, fleet: Fleet, plan: Plan) {
    this.#backend = backend;
    this.#fleet = fleet;
    this.#plan = plan;
  }

  async step(): Promise<void> {
    const now = performance.now();
    if (this.#paused !== undefined && now >= this.#paused.until) this.#resume();
    if (now < this.#nextKillAt || !(await this.#canSpareOne())) return;
    // What had to wait is made up for.
    this.#nextKillAt += this.#plan.killEveryMs;
    // A pause after every second kill, until there were enough; then kills alone.
    const isPausing = this.pauses < this.#plan.pauses && this.wrecks.length >= 2 * this.pauses;
    if (isPausing && this.#paused === undefined) return this.#pause();
    if (this.wrecks.length < this.#plan.kills) return this.#kill();
  }

  async end(): Promise<void> {
    const { until } = this.#paused ?? {};
    if (until !== undefined) await sleep(Math.max(0, until - performance.now()));
    this.#resume();
    await sleep(this.#plan.taskMs + 2_000);
  }

  #resume(): void {
    if (this.#paused !== undefined) this.#fleet.thaw(this.#paused.place);
    this.#paused = undefined;
  }

  /** Whether half of the fleet works on without one more: where nobody is up, as on a machine that starts processes slowly, nobody takes over. */
  async #canSpareOne(): Promise<boolean> {
    const { places } = this.#fleet;
    const alive = new Set((await aliveIn(this.#backend)).map(({ report }) => report.pid));
    return (
      places.filter(({ state, pid }) => state === 'working' && alive.has(pid)).length > places.length / 2
    );
  }

  /** The next worker that works, stopped where it is; undefined: none has anything running. */
  async #catch(): Promise<{ readonly place: Place; readonly wreck: Wreck } | undefined> {
    const { places } = this.#fleet;
    for (let i = 0; i < places.length; i++) {
      const place = places[this.#nextPlace++ % places.length] as Place;
      if (place.state !== 'working') continue;
      this.#fleet.freeze(place);
      // Frozen, it can't end what is counted now; what it has sent is given a moment to arrive.
      await sleep(20);
      const wreck = await wreckOf(this.#backend, place.pid);
      if (wreck.tasks.length === 0) {
        this.#fleet.thaw(place);
        continue;
      }
      this.fallen.add(wreck.session);
      return { place, wreck };
    }
    return undefined;
  }

  async #kill(): Promise<void> {
    const caught = await this.#catch();
    if (caught === undefined) return;
    this.#fleet.kill(caught.place);
    caught.place.kills += 1;
    this.wrecks.push(caught.wreck);
  }

  async #pause(): Promise<void> {
    const caught = await this.#catch();
    if (caught === undefined) return;
    caught.place.pauses += 1;
    this.pauses += 1;
    const { leaseMs } = this.#plan;
    this.#paused = { place: caught.place, until: performance.now() + leaseMs * (1 + PAST_LEASE) };
  }
}

async function aliveIn({ sessions }: Backend) {
  return (await sessions?.list({ limit: 1_000, state: 'alive' }))?.items ?? [];
}

async function wreckOf(backend: Backend, pid: number): Promise<Wreck> {
  const alive = await aliveIn(backend);
  const session = alive.find(({ report }) => report.pid === pid)?.session ?? (0 as SessionNumber);
  const claimed = await backend.tasks?.list({ state: ['claimed'] }, { limit: 1_000 });
  const own = (claimed?.items ?? []).filter((task) => task.session === session && task.started);
  return { at: claimed?.at ?? (0 as BackendTime), session, tasks: own.map(({ id }) => id) };
}

/** Says why tasks were given up, if any were. */
async function explainDead(mesh: CoordinationManager): Promise<void> {
  const { items } = await mesh.queues.list({ state: ['dead'] }, { limit: 10 });
  for (const { id, attempt, reason, error } of items)
    process.stderr.write(
      `${id} is dead after ${attempt} attempts: ${reason ?? ''} ${error?.message ?? ''}\n`,
    );
}

async function statesOf({ tasks }: Backend): Promise<Readonly<Record<string, number>>> {
  const counts = await tasks?.counts([QUEUE]);
  return counts?.queues[0]?.states ?? {};
}

async function wholeHistory({ tasks }: Backend): Promise<readonly Transition[]> {
  const all: Transition[] = [];
  let after: Cursor | undefined;
  do {
    const page = await tasks?.history({}, { limit: 1_000, ...(after === undefined ? {} : { after }) });
    all.push(...(page?.items ?? []));
    after = page?.next;
  } while (after !== undefined);
  return all;
}
