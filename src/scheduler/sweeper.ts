import { andThen, handled, isPromise } from '../core/awaitable.ts';
import { toStoredError } from '../core/errors.ts';
import type { EventSink } from '../core/events.ts';
import type { Operations } from '../core/operations.ts';
import type { Runtime, Timer } from '../core/ports/runtime.ts';
import type { QueueCounts, TaskStore } from '../core/ports/tasks.ts';
import { Rest } from '../core/rest.ts';
import type { Company } from './parts.ts';

/** After the first end since there was nothing to do, ms. */
const TEND_MS = 1_000;
const LIMIT = 1_000;
/** A sweep that failed is tried again after this. */
const SWEEP_AGAIN_MS = 1_000;
/** How often changes that no hint told of are looked for, ms: at first, and after a while in which there were none. */
const LOOK_MS = 1_000;
const LONGEST_LOOK_MS = 2_000;

export type Swept = Awaited<ReturnType<TaskStore['sweep']>>;

/** Has the store do its chores when they are due: delays, deadlines, cascades that go on, retention. */
export class Sweeper {
  readonly #store: TaskStore;
  readonly #operations: () => Operations;
  readonly #runtime: Runtime;
  readonly #events: EventSink;
  readonly #apply: (answer: Swept) => void;
  readonly #company: Company;
  readonly #limit: number;
  readonly #rest: Rest;
  #timer: Timer | undefined;
  #dueAt = Number.POSITIVE_INFINITY;
  #holding = false;
  #stopped = false;
  #sweeping = false;
  /** When the sweep under way began, mono ms. */
  #sweptAt = 0;
  /** Asked for while a sweep is on its way, whose answer can't know of it. */
  #askedFor = Number.POSITIVE_INFINITY;
  #askedHold = false;

  constructor(parts: {
    readonly store: TaskStore;
    readonly operations: () => Operations;
    readonly runtime: Runtime;
    readonly events: EventSink;
    readonly apply: (answer: Swept) => void;
    /** Chores of other processes are looked for now and then; across a network less often while there are none. */
    readonly company: Company;
    /** Most items of one call to a store across a network; absent: it is in this process. */
    readonly farBatch?: number | undefined;
  }) {
    this.#store = parts.store;
    this.#operations = parts.operations;
    this.#runtime = parts.runtime;
    this.#events = parts.events;
    this.#apply = parts.apply;
    this.#company = parts.company;
    this.#limit = Math.min(LIMIT, parts.farBatch ?? LIMIT);
    this.#rest = new Rest({
      firstMs: LOOK_MS,
      mostMs: LONGEST_LOOK_MS,
      random: parts.runtime.random.fork('sweeps'),
    });
  }

  /** How long the chores are overdue, those under way included, ms; 0 when they aren't. */
  overdueMs(): number {
    if (this.#stopped) return 0;
    const since = this.#sweeping ? Math.min(this.#sweptAt, this.#dueAt) : this.#dueAt;
    return Math.max(0, this.#runtime.clock.mono() - since);
  }

  /** Something will be due in this time at the latest. @param hold keeps the process alive until then: somebody waits for it */
  due(inMs: number, hold: boolean): void {
    if (this.#stopped) return;
    const at = this.#runtime.clock.mono() + inMs;
    if (this.#sweeping) {
      this.#askedFor = Math.min(at, this.#askedFor);
      this.#askedHold ||= hold;
      return;
    }
    if (at >= this.#dueAt && (this.#holding || !hold)) return;
    this.#timer?.cancel();
    this.#dueAt = Math.min(at, this.#dueAt);
    this.#holding = hold || this.#holding;
    this.#timer = this.#runtime.clock.after(
      this.#dueAt - this.#runtime.clock.mono(),
      () => this.sweep(),
      this.#holding,
    );
  }

  /** Tasks have ended: what is kept of them is looked through in a while, also when nothing happens any more. */
  tend(): void {
    this.#rest.reset();
    if (this.#dueAt === Number.POSITIVE_INFINITY) this.due(TEND_MS, false);
  }

  /** Does what is due now. */
  sweep(): void {
    if (this.#stopped || this.#sweeping) return;
    this.#sweeping = true;
    this.#sweptAt = this.#runtime.clock.mono();
    let answer;
    try {
      answer = andThen(
        this.#operations().run((op) => this.#store.sweep(op, this.#limit)),
        (swept) => {
          this.#next(swept.more ? 0 : Math.min(swept.nextInMs, this.#lookInMs(swept)));
          this.#apply(swept);
        },
      );
    } catch (error) {
      this.#failed(error);
      return;
    }
    if (isPromise(answer)) answer.catch((error: unknown) => this.#failed(error));
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#dueAt = Number.POSITIVE_INFINITY;
  }

  /** When to look again for what others did. */
  #lookInMs({ readied, ended, pruned, deadSessions }: Swept): number {
    if (this.#company !== 'far') return this.#company === 'alone' ? Number.POSITIVE_INFINITY : LOOK_MS;
    if (readied.length + ended.length + pruned + deadSessions > 0) this.#rest.reset();
    return this.#rest.next();
  }

  #next(inMs: number): void {
    this.#sweeping = false;
    this.#timer?.cancel();
    this.#dueAt = Number.POSITIVE_INFINITY;
    this.#holding = false;
    this.#heed();
    if (inMs === Number.POSITIVE_INFINITY || this.#stopped) return;
    const at = this.#runtime.clock.mono() + inMs;
    const arm = ({ queues }: { readonly queues: readonly QueueCounts[] }): void => {
      const leftMs = Math.max(0, at - this.#runtime.clock.mono());
      this.due(
        leftMs,
        queues.some(({ states }) => states.scheduled > 0),
      );
    };
    // Whatever becomes of the question, what falls due next is done.
    this.due(inMs, false);
    // What waits in a store across a network outlives this process, whose connections hold it anyway.
    if (this.#company === 'far') return;
    try {
      const counts = andThen(this.#store.counts(), arm);
      if (isPromise(counts)) handled(counts);
    } catch {
      // The process isn't held; the next sweep asks again.
    }
  }

  /** Goes by what was asked for meanwhile. */
  #heed(): void {
    const at = this.#askedFor;
    const hold = this.#askedHold;
    this.#askedFor = Number.POSITIVE_INFINITY;
    this.#askedHold = false;
    if (at < Number.POSITIVE_INFINITY) this.due(Math.max(0, at - this.#runtime.clock.mono()), hold);
  }

  #failed(error: unknown): void {
    this.#sweeping = false;
    if (this.#stopped) return;
    const { code, message } = toStoredError(error);
    this.#runtime.logger.error('Could not sweep tasks', { code, message });
    this.#events.emit('system:error', { part: 'scheduler', code, message });
    this.#heed();
    this.#timer?.cancel();
    // What failed is overdue from now on, so that nothing later takes the place of the next try.
    this.#dueAt = Math.min(this.#dueAt, this.#runtime.clock.mono());
    this.#timer = this.#runtime.clock.after(SWEEP_AGAIN_MS, () => this.sweep(), this.#holding);
  }
}
