import type { Clock } from '../core/ports/runtime.ts';
import type { WaitGraph } from '../core/waits.ts';
import type { Agent } from './agent.ts';
import type { Run } from './run.ts';
import type { Slots } from './slots.ts';

/** Waits of one handler that are cheap to look at. */
const FEW_WAITS = 8;

/** Lends out the slots of handlers that wait for something, and gets them back. */
export class SlotLoans {
  readonly #slots: Slots;
  readonly #clock: Clock;
  readonly #graph: WaitGraph | undefined;

  constructor(slots: Slots, clock: Clock, graph: WaitGraph | undefined) {
    this.#slots = slots;
    this.#clock = clock;
    this.#graph = graph;
  }

  /** Waits for something without holding the slot; other tasks run in it meanwhile. The slot is back when this resolves or rejects. */
  async lend<T>(run: Run, what: string, wait: Promise<T>): Promise<T> {
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
    this.#graph?.entered(run.node);
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
      this.#lookAgain(run);
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

  /** What a handler waits for became less: what is left may be part of a deadlock that the rest kept open. Once for all that ended in one turn. */
  #lookAgain(run: Run): void {
    const { facts } = run;
    if (this.#graph === undefined || facts.looksAgain) return;
    // Nobody waits for one that holds nothing: to look at hundreds of children for each that ends would be in vain.
    if (!facts.usedParts && facts.lease === undefined && (facts.waits?.size ?? 0) > FEW_WAITS) return;
    run.extras.looksAgain = true;
    queueMicrotask(() => {
      run.extras.looksAgain = false;
      if (run.phase === 'awaiting' && (run.facts.waits?.size ?? 0) > 0) this.#graph?.entered(run.node);
    });
  }
}
