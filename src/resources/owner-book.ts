import { checkFunction } from '../core/check.ts';
import { CoordinationError } from '../core/errors.ts';
import type { Lease } from '../core/lock-types.ts';
import type {
  Grant,
  GrantRef,
  LockAnswer,
  LockItem,
  LockListener,
  Owner,
  QuickGrant,
} from '../core/ports/locks.ts';
import type { Timer } from '../core/ports/runtime.ts';
import type { BackendTime, Token } from '../core/ports/words.ts';
import type { LockPlan } from './resource-request.ts';

/** What a held lock asks of the part that granted it. */
export interface LockHost {
  release(lock: HeldLock): Promise<void>;
  upgrade(
    lock: HeldLock,
    options: { readonly timeoutMs?: number; readonly signal?: AbortSignal },
  ): Promise<void>;
  downgrade(lock: HeldLock): Promise<void>;
  fenced<R>(lock: HeldLock, write: (token: number) => R | Promise<R>): Promise<R>;
  expiresInMs(lock: HeldLock): number;
  /** The store, or the clock, says that it isn't held any more. */
  lost(lock: HeldLock, reason: CoordinationError): void;
  /** Somebody takes it back. */
  revoked(lock: HeldLock, answer: Grant): void;
}

/** A lease of its own, as this process sees it; mono ms. */
export interface LeaseTerms {
  readonly leaseMs: number;
  readonly renew: boolean;
  /** From here on this process takes it for lost. */
  deadline: number;
  timer: Timer | undefined;
}

const DONE: Promise<void> = Promise.resolve();
const INSPECT = Symbol.for('nodejs.util.inspect.custom');

/**
 * A held lock, or a set taken together: the lease that users get, and the record that this side of the store keeps of it.
 * `await using lease = await locks.acquire('db')` gives it back.
 */
export class HeldLock implements Lease, LockListener {
  /** @internal */
  readonly host: LockHost;
  /** @internal */
  readonly book: OwnerBook;
  readonly resource: string;
  /** Whether it is still what it was taken for. */
  status: 'held' | 'released' | 'lost' = 'held';
  grant: GrantRef & { readonly tokens?: readonly Token[] };
  /** The same, when it came by the quick way. */
  readonly quick: QuickGrant | undefined;
  terms: LeaseTerms | undefined;
  /** mono ms; 0 when it came by the quick way. */
  grantedAt = 0;
  revoked = false;
  previous: HeldLock | undefined;
  next: HeldLock | undefined;
  #plan: LockPlan | undefined;
  #controller: AbortController | undefined;
  #reason: CoordinationError | undefined;

  constructor(
    host: LockHost,
    book: OwnerBook,
    resource: string,
    grant: GrantRef & { readonly tokens?: readonly Token[] },
    quick: QuickGrant | undefined,
    plan: LockPlan | undefined,
  ) {
    this.host = host;
    this.book = book;
    this.resource = resource;
    this.grant = grant;
    this.quick = quick;
    this.terms = undefined;
    this.previous = undefined;
    this.next = undefined;
    this.#plan = plan;
    this.#controller = undefined;
    this.#reason = undefined;
  }

  get plan(): LockPlan {
    this.#plan ??= { names: [this.resource], items: [{ resource: this.resource, mode: 'exclusive' }] };
    return this.#plan;
  }

  get names(): readonly string[] {
    return this.plan.names;
  }

  isOn(resource: string): boolean {
    return this.#plan === undefined ? this.resource === resource : this.#plan.names.includes(resource);
  }

  /** What users see of it: without the intents that came with paths. */
  *namedItems(): Iterable<LockItem & { readonly token: Token }> {
    const { names, items } = this.plan;
    for (const name of names) {
      const at = items.findIndex((item) => item.resource === name);
      yield { ...(items[at] as LockItem), token: this.grant.tokens?.[at] ?? this.grant.token };
    }
  }

  /** The token of the first resource asked for. */
  get token(): Token {
    if (this.#plan === undefined) return this.grant.token;
    const [first] = this.namedItems();
    return (first as { readonly token: Token }).token;
  }

  get resources(): readonly string[] {
    return this.names;
  }

  get owner(): string {
    return this.book.id;
  }

  get tokens(): ReadonlyMap<string, number> {
    return new Map([...this.namedItems()].map(({ resource, token }) => [resource, token]));
  }

  /** ms; 0 once it is released or lost, `Infinity` while it lives with this process's session. */
  get expiresInMs(): number {
    return this.host.expiresInMs(this);
  }

  /** Gives it back; what waits for it goes on before this returns. Idempotent. */
  release(): Promise<void> {
    return this.status === 'held' ? this.host.release(this) : DONE;
  }

  /**
   * Turns shared and update locks into exclusive ones, with new tokens. The lock stays held meanwhile, in its old mode.
   * @throws UPGRADE_CONFLICT at once when another holder waits to upgrade too; LOCK_TIMEOUT; DEADLOCK; LEASE_LOST
   */
  async upgrade(options: { readonly timeoutMs?: number; readonly signal?: AbortSignal } = {}): Promise<void> {
    this.#check();
    await this.host.upgrade(this, options);
  }

  /** Turns exclusive and update locks into shared ones, with the same tokens. @throws LEASE_LOST */
  async downgrade(): Promise<void> {
    this.#check();
    await this.host.downgrade(this);
  }

  /**
   * Runs a write that carries the token. Refused when this lease is no longer held or a newer token has been seen at one of its
   * resources, before or during the write; hand the token on, so that the place you write to can refuse late ones itself.
   * @throws STALE_FENCE
   */
  async fenced<R>(write: (token: number) => R | Promise<R>): Promise<R> {
    checkFunction(write, 'the write');
    return this.host.fenced(this, write);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }

  /** What `console.log` shows. */
  [INSPECT](): object {
    const { resources, owner, token, status } = this;
    return { resources, owner, token, status };
  }

  #check(): void {
    if (this.status === 'held') return;
    throw (
      this.#reason ?? new CoordinationError('LEASE_LOST', `The lock on ${this.names.join(', ')} was released`)
    );
  }

  /** Aborts at the local deadline, on a failed renewal and when the lock is taken back. Made when somebody reads it. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#reason !== undefined) this.#controller.abort(this.#reason);
    }
    return this.#controller.signal;
  }

  /** Why it isn't, or soon won't be, held any more. */
  get reason(): CoordinationError | undefined {
    return this.#reason;
  }

  /** Tells the user of it to stop. The first reason stays. */
  abort(reason: CoordinationError): void {
    this.#reason ??= reason;
    this.#controller?.abort(this.#reason);
  }

  /** Goes on in other modes, after an upgrade or a downgrade. */
  changeModes(items: readonly LockItem[], grant: Grant | undefined): void {
    this.#plan = { names: this.plan.names, items };
    if (grant !== undefined && this.quick === undefined) this.grant = grant;
  }

  lockChanged(answer: LockAnswer): void {
    if (this.status !== 'held') return;
    if (answer.status === 'lost') this.host.lost(this, lostError(this));
    else if (answer.status === 'granted' && answer.revoked !== undefined) this.host.revoked(this, answer);
  }
}

/** The lease ran out. */
export function lostError(lock: HeldLock): CoordinationError {
  return new CoordinationError('LEASE_LOST', `The lease on ${lock.names.join(', ')} ran out`, {
    hint: 'Stop writing; somebody else may hold it. Write through `fenced`, so that late writes are refused.',
  });
}

/** A link of an owner's list of requests. */
export interface WaitLink {
  previous: WaitLink | undefined;
  next: WaitLink | undefined;
}

/** From so many locks on, an owner's are found by an index instead of by looking through them. */
const INDEX_FROM = 16;

/** What one owner holds and waits for in this process; also how the store sees it. */
export class OwnerBook implements Owner {
  readonly agent: string | undefined;
  readonly task: string | undefined;
  /** Of its latest request. */
  priority: number;
  readonly single: boolean;
  /** When the present unit of work began; 0 until it has to wait. Kept over defeats. */
  since = 0 as BackendTime;
  defeats = 0;
  /** The last wait ended in defeat: the next try is the same piece of work. */
  defeated = false;
  first: HeldLock | undefined;
  count = 0;
  /** Requests under way, linked. */
  firstWait: WaitLink | undefined;
  /** Told once when nothing is held or waited for. */
  finishers: (() => void)[] | undefined;
  previous: OwnerBook | undefined;
  next: OwnerBook | undefined;
  readonly #name: string | (() => string);
  #id: string | undefined;
  #index: Map<string, HeldLock> | undefined;

  /** @param name an id, or what makes one when somebody asks: most anonymous owners are never asked. */
  constructor(
    name: string | (() => string),
    agent: string | undefined,
    task: string | undefined,
    priority: number,
    single: boolean,
  ) {
    this.#name = name;
    this.#id = undefined;
    this.agent = agent;
    this.task = task;
    this.priority = priority;
    this.single = single;
    this.first = undefined;
    this.firstWait = undefined;
    this.finishers = undefined;
    this.previous = undefined;
    this.next = undefined;
  }

  get id(): string {
    this.#id ??= typeof this.#name === 'string' ? this.#name : this.#name();
    return this.#id;
  }

  /** Whom events name. */
  get label(): string {
    return this.agent ?? this.id;
  }

  get idle(): boolean {
    return this.count === 0 && this.firstWait === undefined;
  }

  add(lock: HeldLock): void {
    lock.next = this.first;
    if (this.first !== undefined) this.first.previous = lock;
    this.first = lock;
    this.count += 1;
    if (this.#index !== undefined) for (const name of lock.names) this.#index.set(name, lock);
  }

  remove(lock: HeldLock): void {
    if (lock.previous === undefined) this.first = lock.next;
    else lock.previous.next = lock.next;
    if (lock.next !== undefined) lock.next.previous = lock.previous;
    lock.previous = undefined;
    lock.next = undefined;
    this.count -= 1;
    if (this.#index === undefined) return;
    if (this.count < INDEX_FROM / 2) this.#index = undefined;
    else for (const name of lock.names) if (this.#index.get(name) === lock) this.#index.delete(name);
  }

  addWait(wait: WaitLink): void {
    wait.next = this.firstWait;
    if (this.firstWait !== undefined) this.firstWait.previous = wait;
    this.firstWait = wait;
  }

  /** Ignores one that isn't there. */
  removeWait(wait: WaitLink): void {
    if (this.firstWait === wait) this.firstWait = wait.next;
    else if (wait.previous === undefined) return;
    else wait.previous.next = wait.next;
    if (wait.next !== undefined) wait.next.previous = wait.previous;
    wait.previous = undefined;
    wait.next = undefined;
  }

  /** A lock of this owner on a resource; of several the latest. */
  find(resource: string): HeldLock | undefined {
    if (this.count > INDEX_FROM) {
      this.#index ??= indexOf(this.first);
      const known = this.#index.get(resource);
      if (known !== undefined) return known;
    }
    for (let lock = this.first; lock !== undefined; lock = lock.next) {
      if (lock.isOn(resource)) return lock;
    }
    return undefined;
  }

  locks(): readonly HeldLock[] {
    const found: HeldLock[] = [];
    for (let lock = this.first; lock !== undefined; lock = lock.next) found.push(lock);
    return found;
  }
}

function indexOf(first: HeldLock | undefined): Map<string, HeldLock> {
  const index = new Map<string, HeldLock>();
  for (let lock = first; lock !== undefined; lock = lock.next) {
    for (const name of lock.names) if (!index.has(name)) index.set(name, lock);
  }
  return index;
}
