import type { DeadlockError } from '../core/deadlock-error.ts';
import type {
  GrantRef,
  LockAnswer,
  LockListener,
  LockOrder,
  LockRequest,
  Owner,
} from '../core/ports/locks.ts';
import type { Timer } from '../core/ports/runtime.ts';
import type { HeldLock, OwnerBook } from './owner-book.ts';
import type { LockPlan } from './resource-request.ts';

/** What a caller asks for, checked. */
export interface LockAsk {
  readonly plan: LockPlan;
  readonly book: OwnerBook;
  readonly priority: number;
  /** `Infinity`: for ever. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  readonly leaseMs: number | undefined;
  readonly renew: boolean;
  readonly reentrant: boolean;
  readonly wait: boolean;
  /** The documented `acquire(id, agentId)`: who holds it gets the same lease again. */
  readonly legacy: boolean;
  readonly upgradeOf?: HeldLock;
}

/** One request on its way: it is what the store is given, and hears what becomes of it. Settles exactly once. */
export class LockWait implements LockRequest, LockListener {
  readonly id: string;
  readonly ask: LockAsk;
  readonly owner: Owner;
  readonly order: LockOrder;
  readonly upgradeOf: GrantRef | undefined;
  /** mono ms. */
  readonly startedAt: number;
  /** The store has answered, so that it knows what a withdrawal is about. */
  answered = false;
  settled = false;
  queued = false;
  holders: readonly string[] = [];
  /** Why its wait is being ended. */
  verdict: DeadlockError | undefined;
  held: HeldLock | undefined;
  timer: Timer | undefined;
  onAbort: (() => void) | undefined;
  readonly #changed: (wait: LockWait, answer: LockAnswer) => void;
  #resolve: ((lock: HeldLock) => void) | undefined;
  #reject: ((error: unknown) => void) | undefined;

  constructor(
    changed: (wait: LockWait, answer: LockAnswer) => void,
    id: string,
    ask: LockAsk,
    owner: Owner,
    order: LockOrder,
    startedAt: number,
  ) {
    this.#changed = changed;
    this.id = id;
    this.ask = ask;
    this.owner = owner;
    this.order = order;
    this.startedAt = startedAt;
    this.upgradeOf = ask.upgradeOf?.grant;
  }

  get items(): LockRequest['items'] {
    return this.ask.plan.items;
  }
  get priority(): number {
    return this.ask.priority;
  }
  get wait(): boolean {
    return this.ask.wait;
  }
  get reentrant(): boolean {
    return this.ask.reentrant;
  }
  get lease(): LockRequest['lease'] {
    return this.ask.leaseMs === undefined ? 'session' : { leaseMs: this.ask.leaseMs };
  }
  get listener(): LockListener {
    return this;
  }

  /** The promise of this request, made when it can't be answered at once. */
  promise(): Promise<HeldLock> {
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  resolve(lock: HeldLock): void {
    this.#resolve?.(lock);
  }

  reject(error: unknown): void {
    this.#reject?.(error);
  }

  lockChanged(answer: LockAnswer): void {
    if (this.held === undefined) this.#changed(this, answer);
    else this.held.lockChanged(answer);
  }
}
