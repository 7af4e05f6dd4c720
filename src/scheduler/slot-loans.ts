import { handled } from '../core/awaitable.ts';
import type { Clock } from '../core/ports/runtime.ts';
import type { WaitGraph } from '../core/waits.ts';
import type { Agent, Run } from './agent.ts';
import type { RunWaits } from './run-waits.ts';
import type { Slots } from './slots.ts';

/** Waits of one handler that are cheap to look at. */
const FEW_WAITS = 8;

/** Lends out the slots of handlers that wait for something, and gets them back. */
export class SlotLoans {
  readonly #slots: Slots;
  readonly #waits: RunWaits;
  readonly #clock: Clock;
  readonly #graph: WaitGraph | undefined;
  /** Runs whose waits have changed in this turn of the loop. */
  #changed: Run[] = [];

  constructor(slots: Slots, waits: RunWaits, clock: Clock, graph: WaitGraph | undefined) {
    this.#slots = slots;
    this.#waits = waits;
    this.#clock = clock;
    this.#graph = graph;
  }

  /**
   * Waits for something without holding the slot; other tasks run in it meanwhile. The slot is back when this resolves or rejects, and
   * until then the run is a node of the wait-for graph.
   */
  async lend<T>(run: Run, what: string, wait: Promise<T>): Promise<T> {
    handled(wait);
    const { waiting } = this.#waits;
    const { node } = run;
    waiting.set(node, run);
    run.extras.lends += 1;
    try {
      return await this.#lend(run, what, wait);
    } finally {
      // Of several waits that end at once one gets the slot back for all: it may want that longer than its own wait.
      run.extras.lends -= 1;
      if (run.facts.lends === 0 && waiting.get(node) === run) waiting.delete(node);
    }
  }

  async #lend<T>(run: Run, what: string, wait: Promise<T>): Promise<T> {
    if (run.facts.stopError !== undefined) throw run.facts.stopError;
    const waits = (run.extras.waits ??= new Map());
    run.extras.waitCount += 1;
    // No id holds a control character, so the name of what is waited for can be told from the number.
    const key = `${what}\u0000${run.extras.waitCount}`;
    const ended = new Promise<T>((resolve, reject) => {
      waits.set(key, reject);
      wait.then(resolve, reject);
    });
    if (run.phase === 'running') {
      run.phase = 'awaiting';
      run.extras.since = this.#clock.mono();
      this.#slots.give(run);
    }
    this.#lookLater(run);
    try {
      return await ended;
    } finally {
      waits.delete(key);
      try {
        const back = this.#reclaim(run);
        if (back !== undefined) await back;
      } finally {
        this.#graph?.left?.(run.node);
      }
    }
  }

  /** Gives a waiting run its slot back. */
  resume(run: Run, agent: Agent): void {
    run.phase = 'running';
    run.extras.since = this.#clock.mono();
    this.#slots.take(run, agent);
    const { resume } = run.facts;
    run.extras.resume = undefined;
    resume?.(undefined);
  }

  /** Its handler is done: it wants its slot back no more, and nobody hears of what it still waited for. */
  forget(run: Run): void {
    if (run.phase !== 'resuming') return;
    const { resume } = run.facts;
    run.agent?.stopResuming(run);
    run.extras.resume = undefined;
    resume?.(undefined);
  }

  /** Ends the waits of a run that is told to stop. It needs no slot to hear of it. */
  end(run: Run, error: Error): void {
    for (const end of run.facts.waits?.values() ?? []) end(error);
    const { resume } = run.facts;
    if (run.phase !== 'resuming' || resume === undefined) return;
    run.agent?.stopResuming(run);
    run.phase = 'awaiting';
    run.extras.resume = undefined;
    resume(error);
  }

  /**
   * While a handler waits for several things at once it holds no slot: with one slot, a parent that took it back after its first child
   * would block its second.
   */
  #reclaim(run: Run): Promise<void> | undefined {
    const { agent } = run;
    if (run.phase !== 'awaiting' || agent === undefined) return undefined;
    if ((run.facts.waits?.size ?? 0) > 0) {
      // What is left may be part of a deadlock that the rest kept open.
      this.#lookLater(run);
      return undefined;
    }
    if (run.facts.stopCause !== undefined || agent.gone) return undefined;
    if (agent.hasSlot && this.#slots.free > 0) {
      this.resume(run, agent);
      return undefined;
    }
    run.phase = 'resuming';
    return new Promise<void>((resolve, reject) => {
      run.extras.resume = (error) => (error === undefined ? resolve() : reject(error));
      agent.resuming.push(run);
      if (agent.hasSlot) this.#slots.offer(agent);
      this.#graph?.entered(run.node);
    });
  }

  /**
   * Its waits have changed: it is looked whether they are part of a deadlock once its handler has come to rest, for in this turn it may
   * begin another wait that ends by itself, or give back a lock. Until then it is no part of one.
   */
  #lookLater(run: Run): void {
    const { facts } = run;
    if (this.#graph === undefined || facts.looksAgain) return;
    // Nobody waits for one that holds nothing: to look at hundreds of children for each that ends would be in vain.
    if (!facts.usedParts && facts.lease === undefined && (facts.waits?.size ?? 0) > FEW_WAITS) return;
    run.extras.looksAgain = true;
    this.#changed.push(run);
    if (this.#changed.length === 1) this.#clock.soon(this.#look);
  }

  readonly #look = (): void => {
    const runs = this.#changed;
    this.#changed = [];
    for (const run of runs) run.extras.looksAgain = false;
    for (const run of runs)
      if (run.phase === 'awaiting' && (run.facts.waits?.size ?? 0) > 0) this.#graph?.entered(run.node);
  };
}
