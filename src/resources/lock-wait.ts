import type {
  GrantRef,
  LockAnswer,
  LockListener,
  LockOrder,
  LockRequest,
  Owner,
  QuickGrant,
} from '../core/ports/locks.ts';
import type { HeldLock, OwnerBook, WaitLink } from './owner-book.ts';
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
  readonly upgradeOf: HeldLock | undefined;
}

/** What a wait asks of the part that sent it. */
export interface WaitHost {
  readonly order: LockOrder;
  newId(kind: string): string;
  /** The store says what became of it. */
  changed(wait: LockWait, answer: LockAnswer): void;
  /** A store in this process has granted it. */
  granted(wait: LockWait): void;
}

/** One request on its way: it is what the store is given, and hears what becomes of it. Settles exactly once. */
export class LockWait implements LockRequest, LockListener, WaitLink {
  readonly ask: LockAsk;
  /** mono ms. */
  readonly startedAt: number;
  /** The store has answered, so that it knows what a withdrawal is about. */
  answered = false;
  settled = false;
  queued = false;
  /** The store's own object, when it is in this process. */
  grant: QuickGrant | undefined;
  held: HeldLock | undefined;
  holders: readonly string[] = [];
  onAbort: (() => void) | undefined;
  /** In its owner's list. */
  previous: LockWait | undefined;
  next: LockWait | undefined;
  /** In the list of those with the same time limit. */
  earlier: LockWait | undefined;
  later: LockWait | undefined;
  readonly #host: WaitHost;
  #id: string | undefined;
  #resolve: ((lock: HeldLock) => void) | undefined;
  #reject: ((error: unknown) => void) | undefined;

  constructor(host: WaitHost, ask: LockAsk, startedAt: number) {
    this.#host = host;
    this.ask = ask;
    this.startedAt = startedAt;
    this.grant = undefined;
    this.held = undefined;
    this.onAbort = undefined;
    this.previous = undefined;
    this.next = undefined;
    this.earlier = undefined;
    this.later = undefined;
    this.#id = undefined;
    this.#resolve = undefined;
    this.#reject = undefined;
  }

  get id(): string {
    this.#id ??= this.#host.newId('wait');
    return this.#id;
  }
  get items(): LockRequest['items'] {
    return this.ask.plan.items;
  }
  get owner(): Owner {
    return this.ask.book;
  }
  get order(): LockOrder {
    return this.#host.order;
  }
  get upgradeOf(): GrantRef | undefined {
    return this.ask.upgradeOf?.grant;
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

  lockGranted(): void {
    this.#host.granted(this);
  }

  lockChanged(answer: LockAnswer): void {
    if (this.held === undefined) this.#host.changed(this, answer);
    else this.held.lockChanged(answer);
  }
}
