import { checkFunction } from '../core/check.ts';
import { CoordinationError } from '../core/errors.ts';
import type { Lease } from '../core/lock-types.ts';
import type {
  Grant,
  GrantRef,
  LockAnswer,
  LockItem,
  LockOrder,
  LockRequest,
  LockWish,
  QuickGrant,
} from '../core/ports/locks.ts';
import type { Timer } from '../core/ports/runtime.ts';
import type { Token } from '../core/ports/words.ts';
import { nodeName } from '../core/run-node.ts';
import type { Linked, OwnerBook, SingleOwner } from './owner-book.ts';
import type { ModeChange } from './mode-change.ts';
import type { Pending } from './pending.ts';
import type { LockPlan } from './resource-request.ts';

export type Holder = OwnerBook<LockRecord> | SingleOwner;

/** What a record asks of the part that made it. */
export interface LockHost {
  readonly order: LockOrder;
  newId(kind: string): string;
  /** An owner for one request of which nothing more is said. */
  anybody(): SingleOwner;
  release(lock: LockRecord): Promise<void>;
  upgrade(
    lock: LockRecord,
    options: { readonly timeoutMs?: number; readonly signal?: AbortSignal },
  ): Promise<void>;
  downgrade(lock: LockRecord): Promise<void>;
  fenced<R>(lock: LockRecord, write: (token: number) => R | Promise<R>): Promise<R>;
  expiresInMs(lock: LockRecord): number;
  /** How long it has been held. */
  ageMs(lock: LockRecord): number;
  /** A store in this process has granted it. */
  granted(record: LockRecord): void;
  /** The store says what became of it. */
  changed(record: LockRecord, answer: LockAnswer): void;
}

/** What the commonest request doesn't say. */
export interface AskOptions {
  readonly plan: LockPlan;
  readonly signal: AbortSignal | undefined;
  readonly leaseMs: number | undefined;
  readonly renew: boolean;
  readonly reentrant: boolean;
  readonly wait: boolean;
  /** The documented `acquire(id, agentId)`: who holds it gets the same lease again. */
  readonly legacy: boolean;
  readonly upgradeOf: LockRecord | undefined;
}

/** A lease of its own, as this process sees it; mono ms. */
export interface LeaseTerms {
  readonly leaseMs: number;
  readonly renew: boolean;
  /** From here on this process takes it for lost. */
  deadline: number;
  timer: Timer | undefined;
}

/** What most records never have. */
interface Rest {
  id: string | undefined;
  plan: LockPlan | undefined;
  ask: AskOptions | undefined;
  /** The grant of a store that isn't in this process. */
  far: Grant | undefined;
  /** mono ms when that came. */
  grantedAt: number;
  terms: LeaseTerms | undefined;
  revoked: boolean;
  controller: AbortController | undefined;
  reason: CoordinationError | undefined;
  /** The store hasn't answered the request yet: a withdrawal must not overtake it. */
  underWay: boolean;
  withdrawn: boolean;
  change: ModeChange | undefined;
}

/** Of whoever doesn't say. */
export const DEFAULT_PRIORITY = 2;
const DONE: Promise<void> = Promise.resolve();
const INSPECT = Symbol.for('nodejs.util.inspect.custom');

/**
 * One request through its life on this side of the store: waiting, held, over. While it is held it is the lease that the user has:
 * `await using lease = await locks.acquire('db')` gives it back.
 */
export class LockRecord implements Lease, LockWish, Linked {
  /** @internal */
  readonly host: LockHost;
  /** The resource, the first of several. */
  readonly resource: string;
  status: 'waiting' | 'held' | 'released' | 'lost' | 'failed' = 'waiting';
  /** @internal The store's own object, when that is in this process. */
  quick: QuickGrant | undefined;
  /** @internal */
  pending: Pending<LockRecord> | undefined;
  /** @internal In a list of its owner. */
  previous: LockRecord | undefined;
  /** @internal */
  next: LockRecord | undefined;
  #holder: Holder | undefined;
  #rest: Rest | undefined;

  /** @param holder without one: an owner for this request, made when somebody asks for it */
  constructor(host: LockHost, holder: Holder | undefined, resource: string) {
    this.host = host;
    this.#holder = holder;
    this.resource = resource;
    this.quick = undefined;
    this.pending = undefined;
    this.previous = undefined;
    this.next = undefined;
    this.#rest = undefined;
  }

  // ── what the user has

  get resources(): readonly string[] {
    return this.names;
  }

  /** By name: the id of a task, or of the owner. */
  get owner(): string {
    return nodeName(this.holder.id);
  }

  /** Fencing token of the first resource asked for. */
  get token(): number {
    if (this.#rest?.plan === undefined) return this.grant.token;
    const [first] = this.namedItems();
    return (first as { readonly token: Token }).token;
  }

  get tokens(): ReadonlyMap<string, number> {
    return new Map([...this.namedItems()].map(({ resource, token }) => [resource, token]));
  }

  /** ms; 0 once it is released or lost, `Infinity` while it lives with this process's session. */
  get expiresInMs(): number {
    return this.host.expiresInMs(this);
  }

  /** Aborts at the local deadline, on a failed renewal and when the lock is taken back. Made when somebody reads it. */
  get signal(): AbortSignal {
    const rest = this.#more;
    if (rest.controller === undefined) {
      rest.controller = new AbortController();
      if (rest.reason !== undefined) rest.controller.abort(rest.reason);
    }
    return rest.controller.signal;
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
    this.checkHeld();
    await this.host.upgrade(this, options);
  }

  /** Turns exclusive and update locks into shared ones, with the same tokens. @throws LEASE_LOST */
  async downgrade(): Promise<void> {
    this.checkHeld();
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
    const { resources, owner, status } = this;
    return status === 'waiting'
      ? { resources, owner, status }
      : { resources, owner, token: this.token, status };
  }

  /** @internal @throws why it isn't held */
  checkHeld(): void {
    if (this.status === 'held') return;
    throw (
      this.reason ?? new CoordinationError('LEASE_LOST', `The lock on ${this.names.join(', ')} was released`)
    );
  }

  // ── what the store is asked

  get holder(): Holder {
    this.#holder ??= this.host.anybody();
    return this.#holder;
  }
  get single(): boolean {
    return this.book === undefined;
  }
  get priority(): number {
    return this.#holder?.priority ?? DEFAULT_PRIORITY;
  }
  get order(): LockOrder {
    return this.host.order;
  }
  get wait(): boolean {
    return this.#rest?.ask?.wait ?? true;
  }
  get reentrant(): boolean {
    return this.#rest?.ask?.reentrant ?? false;
  }
  get lease(): LockRequest['lease'] {
    const leaseMs = this.#rest?.ask?.leaseMs;
    return leaseMs === undefined ? 'session' : { leaseMs };
  }

  /** The whole request, for a store that needs all of it. */
  request(): LockRequest {
    const { holder, priority, order, wait, reentrant, lease, plan } = this;
    return {
      id: this.waitId,
      items: plan.items,
      owner: holder,
      priority,
      order,
      wait,
      lease,
      reentrant,
      upgradeOf: this.upgradeOf?.grant,
      listener: this,
    };
  }

  /** Under which a store that isn't in this process knows it. */
  get waitId(): string {
    const rest = this.#more;
    rest.id ??= this.host.newId('wait');
    return rest.id;
  }

  lockGranted(): void {
    this.host.granted(this);
  }

  lockChanged(answer: LockAnswer): void {
    this.host.changed(this, answer);
  }

  // ── what its host knows of it

  /** @internal */
  get ask(): AskOptions | undefined {
    return this.#rest?.ask;
  }

  /** @internal */
  withOptions(ask: AskOptions): this {
    const rest = this.#more;
    rest.ask = ask;
    rest.plan = ask.plan;
    return this;
  }

  /** @internal Its owner, when that has a name. */
  get book(): OwnerBook<LockRecord> | undefined {
    const holder = this.#holder;
    return holder === undefined || holder.single ? undefined : holder;
  }

  /** @internal Somebody wants to hear when its owner has finished. */
  get isAwaited(): boolean {
    return this.#holder?.finishers !== undefined;
  }

  get upgradeOf(): LockRecord | undefined {
    return this.#rest?.ask?.upgradeOf;
  }

  /** Whether other documented calls of the same agent for the same resource share it. */
  get isLegacy(): boolean {
    return this.#rest?.ask?.legacy ?? !this.single;
  }

  get plan(): LockPlan {
    if (this.#rest?.plan !== undefined) return this.#rest.plan;
    return { names: [this.resource], items: [{ resource: this.resource, mode: 'exclusive' }] };
  }

  get names(): readonly string[] {
    return this.#rest?.plan?.names ?? [this.resource];
  }

  isOn(resource: string): boolean {
    const plan = this.#rest?.plan;
    return plan === undefined ? this.resource === resource : plan.names.includes(resource);
  }

  get isExclusive(): boolean {
    const plan = this.#rest?.plan;
    if (plan === undefined) return true;
    return plan.items.every(({ resource, mode }) => mode === 'exclusive' || !plan.names.includes(resource));
  }

  /** What users see of it: without the intents that came with paths. */
  *namedItems(): Iterable<LockItem & { readonly token: Token }> {
    const { names, items } = this.plan;
    const { token, tokens } = this.grant;
    for (const name of names) {
      const at = items.findIndex((item) => item.resource === name);
      yield { ...(items[at] as LockItem), token: tokens[at] ?? token };
    }
  }

  get grant(): GrantRef & { readonly tokens: readonly Token[] } {
    return (this.quick ?? this.#rest?.far) as GrantRef & { readonly tokens: readonly Token[] };
  }

  /** @internal As the store finds it: without its token while only the store knows that for certain. */
  get ref(): { readonly id: string; readonly token: Token | undefined } {
    const { id, token } = this.grant;
    return { id, token: this.change?.isDoubtful === true ? undefined : token };
  }

  /** @internal A store that isn't in this process has granted it. */
  setFar(grant: Grant, grantedAt: number): void {
    const rest = this.#more;
    rest.far = grant;
    rest.grantedAt = grantedAt;
  }

  /** mono ms; 0 when the store in this process knows better. */
  get grantedAt(): number {
    return this.#rest?.grantedAt ?? 0;
  }

  get terms(): LeaseTerms | undefined {
    return this.#rest?.terms;
  }
  set terms(terms: LeaseTerms | undefined) {
    this.#more.terms = terms;
  }

  get isRevoked(): boolean {
    return this.#rest?.revoked ?? false;
  }

  get isUnderWay(): boolean {
    return this.#rest?.underWay ?? false;
  }
  set isUnderWay(underWay: boolean) {
    this.#more.underWay = underWay;
  }

  /** The store was asked to forget the request. */
  get isWithdrawn(): boolean {
    return this.#rest?.withdrawn ?? false;
  }
  set isWithdrawn(withdrawn: boolean) {
    this.#more.withdrawn = withdrawn;
  }

  /** The latest change of its modes that a store across a network was asked for; of an upgrade that one itself. */
  get change(): ModeChange | undefined {
    return this.#rest?.change;
  }
  set change(change: ModeChange) {
    this.#more.change = change;
  }

  /** Why it isn't, or soon won't be, held any more. */
  get reason(): CoordinationError | undefined {
    return this.#rest?.reason;
  }

  /** Tells the user of it to stop. The first reason stays. */
  abort(reason: CoordinationError, revoked = false): void {
    const rest = this.#more;
    rest.revoked ||= revoked;
    rest.reason ??= reason;
    rest.controller?.abort(rest.reason);
  }

  /** Goes on in other modes, after an upgrade or a downgrade. */
  changeModes(items: readonly LockItem[], grant: Grant | undefined): void {
    const rest = this.#more;
    rest.plan = { names: this.names, items };
    if (grant !== undefined && rest.far !== undefined) rest.far = grant;
  }

  get #more(): Rest {
    this.#rest ??= {
      id: undefined,
      plan: undefined,
      ask: undefined,
      far: undefined,
      grantedAt: 0,
      terms: undefined,
      revoked: false,
      controller: undefined,
      reason: undefined,
      underWay: false,
      withdrawn: false,
      change: undefined,
    };
    return this.#rest;
  }
}
