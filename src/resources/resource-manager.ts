import { BoundedSet, MOST_DEPARTED } from '../core/bounded-set.ts';
import { checkArray, checkFunction, checkId, checkSignal, type Priority } from '../core/check.ts';
import type { DeadlockError } from '../core/deadlock-error.ts';
import { CoordinationError } from '../core/errors.ts';
import { type EventSink, silentSink } from '../core/events.ts';
import type { AcquireOptions, Lease, ResourceRequest } from '../core/lock-types.ts';
import { checkOptions, resolveOptions } from '../core/options.ts';
import type { Hint } from '../core/ports/backend.ts';
import type { LockRow, LockStore } from '../core/ports/locks.ts';
import type { Logger } from '../core/ports/runtime.ts';
import type { Awaitable, Page, PageRequest } from '../core/ports/words.ts';
import { checkNode, isRunNode, runNode } from '../core/run-node.ts';
import type { WaitGraph } from '../core/waits.ts';
import { checkTimeout } from './acquire-options.ts';
import { failureReport } from './callback-failures.ts';
import { CheckedGraph } from './checked-graph.ts';
import { DeclaredWaits } from './declared-waits.ts';
import { LockClient } from './lock-client.ts';
import { LockDepartures } from './lock-departures.ts';
import { LockForce } from './lock-force.ts';
import { LockIntake, type Requests, type RunOptions, type RunOwner } from './lock-intake.ts';
import { LockRecord } from './lock-record.ts';
import type { LockScope } from './lock-scope.ts';
import { LockScopes, type ScopeOptions } from './lock-scopes.ts';
import { LockViews } from './lock-views.ts';
import { lockWaits } from './lock-waits.ts';
import { type ResourceParts, resourceBase } from './resource-parts.ts';
import { useLock } from './use-lock.ts';
import { type VictimPolicy, WaitForGraph } from './wait-for-graph.ts';
import type { WaitLink } from './why.ts';

/** The resource options of `docs/reference/options.md`, and the documented `resourceTimeout` and `deadlockDetection`. */
export interface ResourceOptions {
  /** ms a revoked lock may go on for. @default 30,000 */
  readonly leaseMs?: number;
  readonly ageStepMs?: number;
  readonly maxOvertakes?: number;
  readonly victim?: VictimPolicy;
  readonly resourceTimeout?: number;
  readonly deadlockDetection?: boolean;
}

/**
 * Locks, semaphores and path locks with fencing tokens, fair queues and deadlock resolution.
 *
 * Guarantees: never two incompatible holders; FIFO within a priority, with ageing; a wait that times out or is aborted leaves nothing
 * behind; every deadlock of waits that the library knows is found when its last wait begins and broken by ending one of them. Not
 * promised: that side effects of a holder end with its lease; write through {@link Lease.fenced}.
 */
export class ResourceManager implements AsyncDisposable {
  readonly #client: LockClient;
  readonly #graph: WaitForGraph;
  readonly #waits: CheckedGraph;
  readonly #declared: readonly [DeclaredWaits, DeclaredWaits];
  readonly #timeoutMs: number;
  readonly #left = new BoundedSet<string>(MOST_DEPARTED);
  readonly #hints: Disposable | undefined;
  readonly #intake: LockIntake;
  readonly #scopes: LockScopes;
  readonly #departures: LockDepartures;
  readonly #force: LockForce;
  readonly #views: LockViews;
  #stopped = false;

  constructor(
    config: ResourceOptions | object = {},
    events: EventSink = silentSink,
    logger?: Logger,
    parts: ResourceParts = {},
  ) {
    const options = resolveOptions('resources', config);
    const shared = resolveOptions('manager', config);
    const victim = options.victim;
    if (victim !== undefined) checkFunction(victim, '`resources.victim`');
    const base = resourceBase(parts, logger);
    this.#timeoutMs = shared.resourceTimeout;
    this.#graph = new WaitForGraph({
      runtime: base.runtime,
      events,
      victim: victim as VictimPolicy | undefined,
      enabled: shared.deadlockDetection,
    });
    const farBatch = parts.capabilities?.roundTrip === 'network' ? parts.capabilities.maxBatch : undefined;
    this.#client = new LockClient({
      ...base,
      events,
      graph: this.#graph,
      order: { ageStepMs: options.ageStepMs, maxOvertakes: options.maxOvertakes },
      timeoutMs: this.#timeoutMs,
      farBatch,
      versions: parts.versions,
    });
    this.#intake = new LockIntake(this.#client, this.#timeoutMs, this.#left);
    this.#scopes = new LockScopes(
      this,
      () => this.#client.newId('scope'),
      base.runtime.clock,
      this.#timeoutMs,
    );
    const failed = failureReport(events, base.runtime.logger);
    this.#force = new LockForce(this.#client, options.leaseMs, failed, farBatch);
    this.#departures = new LockDepartures(this.#client, this.#force);
    this.#views = new LockViews(this.#client, this.#graph);
    const nodeOf = (id: string): string => this.#nodeOf(id);
    this.#declared = [new DeclaredWaits(true, nodeOf, failed), new DeclaredWaits(false, nodeOf, failed)];
    this.#waits = new CheckedGraph(this.#graph, failed);
    this.#graph.addSource(lockWaits(this.#client));
    for (const source of this.#declared) this.#graph.addSource(source);
    const anyLock: Hint[] = [{ about: 'locks', resource: '*' }, { about: 'reconnected' }];
    this.#hints = parts.onHint?.(anyLock, () => this.askNow());
  }

  /** The one wait-for graph: other parts add their waits to it. */
  get waits(): Required<WaitGraph> {
    return this.#waits;
  }

  // ── acquiring

  /**
   * Waits for a resource. The documented form names an agent, which is then the owner: while it holds the resource, calling again returns
   * at once and changes nothing. The other form makes an owner for this request unless the options name one.
   *
   * @example
   * await using lease = await locks.acquire({ path: 'src/**' }, { timeoutMs: 5_000 });
   * @throws LOCK_TIMEOUT with the holders, DEADLOCK with the cycle, UNKNOWN_AGENT for an agent that left, STOPPED, INVALID_ARGUMENT;
   * `signal.reason` when aborted
   */
  acquire(resource: string, agentId: string, priority?: Priority, options?: AcquireOptions): Promise<Lease>;
  acquire(request: ResourceRequest, options?: AcquireOptions): Promise<Lease>;
  acquire(
    request: ResourceRequest,
    second?: string | AcquireOptions,
    priority?: Priority,
    options?: AcquireOptions,
  ): Promise<Lease> {
    try {
      if (second === undefined && typeof request === 'string') {
        const lock = this.#acquireOne(request);
        if (lock instanceof LockRecord && lock.status === 'held') return Promise.resolve(lock);
        return lock as Promise<Lease>;
      }
      if (second === undefined || (typeof second === 'object' && second !== null)) {
        return toLease(this.#open.acquire(request, second));
      }
      return toLease(this.#open.acquireAs(request, second, priority, options));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** The lock if it is free now and nobody waits for it, else `undefined`. */
  async tryAcquire(request: Requests, options?: AcquireOptions): Promise<Lease | undefined> {
    const lock = await this.#open.acquire(request, options, false);
    return lock;
  }

  /** For a run of a task: its locks belong to its node of the wait-for graph, and to its agent when that leaves. */
  acquireFor(
    owner: RunOwner,
    requests: readonly ResourceRequest[],
    options: RunOptions = {},
  ): Promise<Lease> {
    try {
      return toLease(this.#open.acquireFor(owner, requests, options));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** All or none; holds nothing while it waits, so requests of this kind can't deadlock among themselves. */
  async acquireAll(requests: readonly ResourceRequest[], options?: AcquireOptions): Promise<Lease> {
    checkArray(requests, 'the resources');
    return (await this.#open.acquire(requests, options)) as LockRecord;
  }

  /** Runs `use` with the lock and gives it back, whatever becomes of it. */
  withLock<R>(
    request: Requests,
    use: (lease: Lease) => R | Promise<R>,
    options?: AcquireOptions,
  ): Promise<R> {
    try {
      checkFunction(use, 'the function that uses the lock');
      const simple = options === undefined && typeof request === 'string';
      const lock = simple ? this.#acquireOne(request) : this.#open.acquire(request, options);
      if (lock instanceof LockRecord) return useLock(lock, use);
      return (lock as Promise<LockRecord>).then((granted) => useLock(granted, use));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Runs a unit of work that takes several locks one after another, and gives all of them back at its end. When one of its waits is the
   * victim of a deadlock, it gives everything back, waits until the survivor has finished, and runs again, with its age kept.
   */
  async scope<R>(run: (scope: LockScope) => R | Promise<R>, given: ScopeOptions = {}): Promise<R> {
    return this.#scopes.run(run, given);
  }

  // ── releasing

  /** Gives back what the agent holds; nothing when it doesn't hold it, so that it fits into `finally`. */
  async release(resource: string, agentId: string): Promise<void> {
    await this.#departures.release(resource, agentId);
  }

  /** Gives back all locks of an agent and ends its waits. Returns how many locks. */
  async releaseAllForAgent(agentId: string): Promise<number> {
    return this.#departures.ofAgent(agentId);
  }

  /** Gives back all locks of one owner and ends its waits: a task run that is over. Returns how many locks. */
  async releaseOwner(owner: string): Promise<number> {
    return this.#departures.ofOwner(owner);
  }

  /** An agent died or was removed: its locks are given back, its waits rejected, and it is refused from now on. */
  async agentLeft(agentId: string): Promise<number> {
    this.#left.add(checkId(agentId, 'agentId'));
    return this.#departures.agentLeft(agentId);
  }

  /** An agent was registered (again). */
  agentJoined(agentId: string): void {
    this.#left.delete(checkId(agentId, 'agentId'));
  }

  // ── by force

  /**
   * Takes a resource back from whoever holds it: their signals abort with LOCK_REVOKED, and the next one gets it, with a higher token, once
   * they have released it or the grace has passed. Returns how many holders were told.
   */
  async forceRelease(
    resource: string,
    options: { readonly graceMs?: number; readonly reason?: string } = {},
  ): Promise<number> {
    return this.#force.release(resource, options);
  }

  /**
   * Gives a resource to an agent, as a conflict's resolution demands: before everybody who waits, once its holders are out. Nothing is taken
   * from anybody when the agent can't have it. Resolves when the agent has it; `begun` is called as soon as nothing but time is missing.
   * @throws INVALID_ARGUMENT for a semaphore, whose units are many holders'; as `acquire`
   */
  async moveLock(
    resource: string,
    toAgent: string,
    options: { readonly graceMs?: number; readonly reason?: string; readonly begun?: () => void } = {},
  ): Promise<Lease> {
    return this.#force.move(resource, toAgent, options, (graceMs, signal) =>
      this.acquire(resource, toAgent, 1_000, { timeoutMs: this.#timeoutMs + graceMs, signal }),
    );
  }

  // ── looking

  /**
   * Declares a wait outside the library, so that cycles through it are found, until disposed. With `abort` it can be the victim. An id that
   * is both an owner's and an unended task's means the owner while that holds or wants a lock, else the task.
   */
  waitsFor(
    waiter: string,
    holder: string,
    what: string,
    options: { readonly abort?: (error: DeadlockError) => void } = {},
  ): Disposable {
    const given = checkOptions('waitsFor', options, ['abort']);
    const { abort } = given;
    if (abort !== undefined) checkFunction(abort, 'abort');
    const wait = {
      waiter: checkNode(waiter, 'waiter'),
      holder: checkNode(holder, 'holder'),
      what: checkId(what, 'what'),
      abort,
    };
    const declared = this.#declared[abort === undefined ? 1 : 0].add(wait);
    this.#graph.entered(this.#nodeOf(waiter));
    return declared;
  }

  /** Every resource that is held through this manager, and its holder; of several the one that came first. */
  getAllocations(): Map<string, string> {
    return this.#views.allocations();
  }

  /** Every resource that is waited for through this manager, and who waits, next first. */
  getWaitingRequests(): Map<string, string[]> {
    return this.#views.waitingRequests();
  }

  /** Why an owner (or an agent, if that is its owner id) waits: what for, who has it, what that one waits for. Empty when it doesn't wait. */
  whyWaiting(owner: string): readonly WaitLink[] {
    return this.#views.why(this.#nodeOf(checkNode(owner, 'owner')));
  }

  /** Since when each of these agents holds or wants a resource; only those that do. */
  requestTimes(resource: string, agents: readonly string[]): ReadonlyMap<string, Date> {
    return this.#views.requestTimes(resource, agents);
  }

  /** Held and contended resources of the whole backend, longest queue first. */
  list(
    filter: Parameters<LockStore['list']>[0] = {},
    page: PageRequest = { limit: 100 },
  ): Awaitable<Page<LockRow>> {
    return this.#views.list(filter, page);
  }

  /** How many resources are held, known (held, waited for or kept for their next use) and how many requests wait, now. */
  lockUse(): { readonly held: number; readonly known: number; readonly waiting: number } {
    return this.#views.use();
  }

  /** Resolves when an owner holds and wants nothing any more; after `timeoutMs` (default `resourceTimeout`) in any case. */
  async untilFinished(
    owner: string,
    options: { readonly timeoutMs?: number; readonly signal?: AbortSignal | undefined } = {},
  ): Promise<void> {
    const node = this.#nodeOf(checkNode(owner, 'owner'));
    const given = checkOptions('untilFinished', options, ['timeoutMs', 'signal']);
    const { timeoutMs, signal } = given;
    await this.#client.work.untilFinished(
      node,
      checkTimeout(timeoutMs, this.#timeoutMs),
      checkSignal(signal, 'signal'),
    );
  }

  /** For how long the store has not said what became of leases that are to be renewed, ms. */
  overdueMs(): number {
    return this.#stopped ? 0 : this.#client.keeper.overdueMs();
  }

  /** Whether a node holds or wants a lock, as far as this process can tell. */
  isAtWork(node: string): boolean {
    return this.#client.work.isAtWork(checkNode(node, 'node'));
  }

  // ── life

  /** Rejects waits with STOPPED, gives all locks back and accepts nothing more. Idempotent. */
  async shutdown(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#hints?.[Symbol.dispose]();
    this.#graph.stop();
    await this.#departures.ofAll(stopped());
    this.#client.keeper.stop();
  }

  /** Asks the store about all waits and leases now: it has news of some. */
  askNow(): void {
    this.#client.keeper.wake();
  }

  /** This process's session is gone, and its locks with it: every lease is lost, every wait ends. */
  sessionLost(): void {
    this.#departures.sessionLost();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.shutdown();
  }

  // ── inside

  /** One resource and nothing else said, in as few steps as it takes. */
  #acquireOne(resource: string): LockRecord | Promise<LockRecord> {
    if (this.#stopped) throw stopped();
    return this.#client.acquireOne(resource, undefined, this.#timeoutMs);
  }

  /** @throws STOPPED */
  get #open(): LockIntake {
    if (this.#stopped) throw stopped();
    return this.#intake;
  }

  /** Whom an id that somebody gave means: an owner, or a task's run. */
  #nodeOf(id: string): string {
    if (isRunNode(id) || this.#client.owners.books.get(id)?.idle === false) return id;
    const node = runNode(id);
    return this.#graph.knows(node) ? node : id;
  }
}

function toLease(lock: Awaitable<LockRecord | undefined>): Promise<Lease> {
  return Promise.resolve(lock) as Promise<Lease>;
}

function stopped(): CoordinationError {
  return new CoordinationError('STOPPED', 'The resource manager was stopped');
}
