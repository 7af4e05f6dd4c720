import { handled } from '../core/awaitable.ts';
import { CircuitState } from '../core/coordination-types.ts';
import { toStoredError } from '../core/errors.ts';
import type { Operations } from '../core/operations.ts';
import type { Backend } from '../core/ports/backend.ts';
import type { Runtime, Timer } from '../core/ports/runtime.ts';
import type { Entry, StateStore } from '../core/ports/state.ts';
import type { BackendTime, SessionNumber } from '../core/ports/words.ts';
import type { CircuitSnapshot } from './circuit-snapshot.ts';

const PREFIX = 'breaker/';
/** Hints may be lost: what others have changed is looked for this often, ms. */
const POLL_MS = 5_000;
const PAGE = 100;

/** What is shared of a breaker. */
export interface SharedCircuit {
  readonly name: string;
  readonly probeTimeoutMs: number;
  snapshot(): CircuitSnapshot;
  /** Whether a probe of this process is under way. */
  isProbing(): boolean;
  /** Takes a snapshot over if it is newer than what is here, or as new. */
  adopt(snapshot: CircuitSnapshot): void;
}

export interface SharedCircuitsParts {
  readonly runtime: Runtime;
  readonly store: StateStore;
  readonly operations: Operations;
  readonly onHint?: Backend['onHint'];
}

/** A snapshot as it is stored: whose it is tells who probes. */
type Stored = CircuitSnapshot & { readonly by: SessionNumber };

interface Known {
  readonly circuit: SharedCircuit;
  /** Of the entry that was seen last; 0: there is none. */
  revision: number;
  generation: number;
  /** By how much generations in the store are larger than here: it may have changed often before this process had heard of it. */
  ahead: number;
  isBusy: boolean;
}

/**
 * One state for the breakers of a name in all processes. Each change is stored by compare-and-set on what was there: of two processes that
 * change it at a time one wins, and the other takes that over. Where another process probes, this one waits for what comes of it, at most as
 * long as a probe may take; before it has heard of it, it may let probes of its own through.
 */
export class SharedCircuits {
  readonly #parts: SharedCircuitsParts;
  readonly #known = new Map<string, Known>();
  #after = 0;
  #isLooking = false;
  /** Somebody has changed something since the look under way began. */
  #looksAgain = false;
  #timer: Timer | undefined;
  #hints: Disposable | undefined;
  #isStopped = false;

  constructor(parts: SharedCircuitsParts) {
    this.#parts = parts;
  }

  add(circuit: SharedCircuit): void {
    this.#known.set(circuit.name, { circuit, revision: 0, generation: 0, ahead: 0, isBusy: false });
    if (this.#timer !== undefined || this.#isStopped) {
      this.#look();
      return;
    }
    const interest = [{ about: 'state', prefix: PREFIX } as const, { about: 'reconnected' } as const];
    this.#hints = this.#parts.onHint?.(interest, () => this.#look());
    this.#look();
    this.#poll();
  }

  /** The state of a breaker has changed here. */
  changed(name: string): void {
    const known = this.#known.get(name);
    if (known !== undefined && !known.isBusy && !this.#isStopped) handled(this.#store(known));
  }

  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
    this.#hints?.[Symbol.dispose]();
  }

  #poll(): void {
    this.#timer = this.#parts.runtime.clock.after(POLL_MS, () => {
      this.#look();
      if (!this.#isStopped) this.#poll();
    });
  }

  async #store(known: Known): Promise<void> {
    const { store, operations } = this.#parts;
    known.isBusy = true;
    try {
      for (;;) {
        const own = known.circuit.snapshot();
        const snapshot = { ...own, generation: own.generation + known.ahead };
        if (snapshot.generation <= known.generation || this.#isStopped) return;
        // Whoever makes the first call is to probe, not whose clock was first.
        if (snapshot.state === CircuitState.HALF_OPEN && !known.circuit.isProbing()) return;
        const value: Stored = { ...snapshot, by: operations.session };
        const swap = { key: PREFIX + known.circuit.name, expected: known.revision, value };
        const { swapped, entries, at } = await operations.run((op) => store.compareAndSet(op, [swap]));
        const [entry] = entries;
        if (entry === undefined) known.revision = 0;
        else if (swapped) {
          known.revision = entry.revision;
          known.generation = snapshot.generation;
        } else this.#take(known, entry, at);
      }
    } catch (error) {
      // The next change, or the next look, tries again; every process guards itself meanwhile.
      this.#report(error);
    } finally {
      known.isBusy = false;
    }
  }

  #look(): void {
    this.#looksAgain = this.#isLooking;
    if (this.#isLooking || this.#isStopped) return;
    this.#isLooking = true;
    handled(
      this.#readChanges()
        .catch((error: unknown) => this.#report(error))
        .finally(() => {
          this.#isLooking = false;
          if (this.#looksAgain) this.#look();
        }),
    );
  }

  async #readChanges(): Promise<void> {
    const unread = [...this.#known.values()].some(({ revision }) => revision === 0);
    if (unread) this.#after = 0;
    for (let more = true; more; ) {
      const page = await this.#parts.store.changes(PREFIX, this.#after, PAGE);
      for (const entry of page.entries) {
        const known = this.#known.get(entry.key.slice(PREFIX.length));
        if (known !== undefined && entry.revision > known.revision) this.#take(known, entry, page.at);
      }
      this.#after = page.revision;
      more = page.more;
    }
    for (const known of this.#known.values()) this.changed(known.circuit.name);
  }

  #take(known: Known, { revision, value, changedAt }: Entry, at: BackendTime): void {
    const isFirst = known.revision === 0;
    known.revision = revision;
    if (value === undefined) return;
    const { by, ...snapshot } = value as Stored;
    const { circuit } = known;
    known.generation = snapshot.generation;
    if (isFirst && snapshot.state === CircuitState.CLOSED)
      known.ahead = aheadOf(circuit.snapshot(), snapshot);
    const passedMs = Math.max(0, at - changedAt) / 1_000;
    const seen = this.#asSeenHere(snapshot, passedMs, by, circuit);
    circuit.adopt({ ...seen, generation: Math.max(0, seen.generation - known.ahead) });
  }

  #asSeenHere(
    snapshot: CircuitSnapshot,
    passedMs: number,
    by: SessionNumber,
    { probeTimeoutMs }: SharedCircuit,
  ): CircuitSnapshot {
    const { generation, reason } = snapshot;
    if (snapshot.state === 'open')
      return { ...snapshot, leftMs: Math.max(0, (snapshot.leftMs ?? 0) - passedMs) };
    if (snapshot.state !== CircuitState.HALF_OPEN || by === this.#parts.operations.session) return snapshot;
    const leftMs = Math.max(0, probeTimeoutMs - passedMs);
    return { state: CircuitState.OPEN, generation, reason: `${reason}; another process probes`, leftMs };
  }

  #report(error: unknown): void {
    const { code, message } = toStoredError(error);
    if (code !== 'NOT_STARTED' && code !== 'STOPPED')
      this.#parts.runtime.logger.warn('The state of circuit breakers could not be shared', { code, message });
  }
}

/**
 * Of a breaker that this process hears of for the first time, and that is closed for the others: what has been counted here goes on, and if
 * it has opened here, that is news for them.
 */
function aheadOf(own: CircuitSnapshot, theirs: CircuitSnapshot): number {
  const from = own.state === CircuitState.CLOSED ? theirs.generation : theirs.generation + 1;
  return Math.max(0, from - own.generation);
}
