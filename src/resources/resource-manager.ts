import { MemoryLockStore } from '../backends/memory/lock-store.ts';
import { standalone } from '../backends/memory/standalone.ts';
import { andThen, isPromise } from '../core/awaitable.ts';
import { BoundedSet, MOST_DEPARTED } from '../core/bounded-set.ts';
import {
  checkArray,
  checkFunction,
  checkId,
  checkInteger,
  checkMs,
  checkOptions,
  checkPriority,
  checkRecord,
  checkSignal,
  invalid,
  type Priority,
  reading,
} from '../core/check.ts';
import { CoordinationError, describe, isCoordinationError } from '../core/errors.ts';
import { type EventSink, silentSink } from '../core/events.ts';
import type { AcquireOptions, Lease, ResourceRequest } from '../core/lock-types.ts';
import type { Operations } from '../core/operations.ts';
import { refuseUnknown, resolveOptions } from '../core/options.ts';
import type { Backend, Hint } from '../core/ports/backend.ts';
import type { LockRow, LockStore } from '../core/ports/locks.ts';
import type { Logger, Runtime } from '../core/ports/runtime.ts';
import type { Awaitable, Page, PageRequest } from '../core/ports/words.ts';
import { checkNode, isRunNode, nodeName, runNode } from '../core/run-node.ts';
import { DeadlockError } from '../core/deadlock-error.ts';
import { type CheckedOptions, checkAcquireOptions, checkTimeout } from './acquire-options.ts';
import { DefeatLane } from './defeat-lane.ts';
import { DeclaredWaits } from './declared-waits.ts';
import { LockClient } from './lock-client.ts';
import { type AskOptions, DEFAULT_PRIORITY, type Holder, LockRecord } from './lock-record.ts';
import { LockScope } from './lock-scope.ts';
import { lockWaits } from './lock-waits.ts';
import type { OptimisticLockManager } from './optimistic-lock-manager.ts';
import type { OwnerBook } from './owner-book.ts';
import { type LockPlan, planLocks } from './resource-request.ts';
import { type VictimPolicy, WaitForGraph } from './wait-for-graph.ts';
import { type WaitLink, whyWaiting } from './why.ts';

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

/** What a manager hands in. Alone, a ResourceManager works on a memory backend of its own. */
export interface ResourceParts {
  readonly runtime?: Runtime;
  readonly store?: LockStore;
  readonly operations?: Operations;
  readonly onHint?: Backend['onHint'];
  /** Whose versions change when an exclusive lock is given back. */
  readonly versions?: OptimisticLockManager;
}

export interface ScopeOptions {
  /** @default an id of its own */
  readonly owner?: string;
  readonly agent?: string;
  readonly task?: string;
  readonly priority?: number;
  readonly signal?: AbortSignal;
  /** How often it may be the victim of a deadlock before the error is passed on. @default 10 */
  readonly maxDefeats?: number;
}

/** Defeats in a row after which a scope runs again only when no other such scope does. */
const PATIENCE = 3;

type Requests = ResourceRequest | readonly ResourceRequest[];

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
  readonly #declared: readonly [DeclaredWaits, DeclaredWaits];
  readonly #timeoutMs: number;
  readonly #graceMs: number;
  readonly #left = new BoundedSet<string>(MOST_DEPARTED);
  readonly #hints: Disposable | undefined;
  readonly #lane: DefeatLane;
  /** Owners whose records are dropped when their agent has left. */
  readonly #forget = new Set<string>();
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
    const base = baseOf(parts, logger);
    this.#timeoutMs = shared.resourceTimeout;
    this.#graceMs = options.leaseMs;
    this.#graph = new WaitForGraph({
      runtime: base.runtime,
      events,
      victim: victim as VictimPolicy | undefined,
      enabled: shared.deadlockDetection,
    });
    this.#client = new LockClient({
      ...base,
      events,
      graph: this.#graph,
      order: { ageStepMs: options.ageStepMs, maxOvertakes: options.maxOvertakes },
      timeoutMs: this.#timeoutMs,
      versions: parts.versions,
    });
    this.#lane = new DefeatLane(base.runtime.clock);
    const nodeOf = (id: string): string => this.#nodeOf(id);
    this.#declared = [new DeclaredWaits(true, nodeOf), new DeclaredWaits(false, nodeOf)];
    this.#graph.addSource(lockWaits(this.#client));
    for (const source of this.#declared) this.#graph.addSource(source);
    const anyLock: Hint[] = [{ about: 'locks', resource: '*' }, { about: 'reconnected' }];
    this.#hints = parts.onHint?.(anyLock, () => this.#client.keeper.wake());
  }

  /** The one wait-for graph: other parts add their waits to it. */
  get waits(): WaitForGraph {
    return this.#graph;
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
        return toLease(this.#acquire(request, second));
      }
      return toLease(this.#acquireAs(request, second, priority, options));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** The lock if it is free now and nobody waits for it, else `undefined`. */
  async tryAcquire(request: Requests, options?: AcquireOptions): Promise<Lease | undefined> {
    const lock = await this.#acquire(request, options, false);
    return lock;
  }

  /** For a run of a task: its locks belong to its node of the wait-for graph, and to its agent when that leaves. */
  acquireFor(
    owner: { readonly node: string; readonly agent?: string | undefined; readonly priority: number },
    requests: readonly ResourceRequest[],
    options: Pick<AcquireOptions, 'timeoutMs' | 'signal'> = {},
  ): Promise<Lease> {
    try {
      return toLease(this.#acquireFor(owner, requests, options));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** All or none; holds nothing while it waits, so requests of this kind can't deadlock among themselves. */
  async acquireAll(requests: readonly ResourceRequest[], options?: AcquireOptions): Promise<Lease> {
    checkArray(requests, 'the resources');
    return (await this.#acquire(requests, options)) as LockRecord;
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
      const lock = simple ? this.#acquireOne(request) : this.#acquire(request, options);
      if (lock instanceof LockRecord) return this.#use(lock, use);
      return (lock as Promise<LockRecord>).then((granted) => this.#use(granted, use));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Runs a unit of work that takes several locks one after another, and gives all of them back at its end. When one of its waits is the
   * victim of a deadlock, it gives everything back, waits until the survivor has finished, and runs again, with its age kept.
   */
  async scope<R>(run: (scope: LockScope) => R | Promise<R>, given: ScopeOptions = {}): Promise<R> {
    checkFunction(run, 'the function of the scope');
    const options = checkOptions<ScopeOptions>(given, 'the options of a scope');
    refuseUnknown('scope', options, ['owner', 'agent', 'task', 'priority', 'signal', 'maxDefeats']);
    const { maxDefeats = 10, owner = this.#client.newId('scope'), ...own } = options;
    checkInteger(maxDefeats, 'maxDefeats', 0);
    const scope = new LockScope(this, checkId(owner, 'owner'), own);
    let leaveLane: (() => void) | undefined;
    try {
      for (let defeats = 0; ; defeats++) {
        if (defeats === PATIENCE) leaveLane = await this.#lane.enter(this.#timeoutMs);
        try {
          return await run(scope);
        } catch (error) {
          if (defeats >= maxDefeats || !isCoordinationError(error, 'DEADLOCK')) throw error;
          await this.releaseOwner(owner);
          const survivor = survivorIn(error);
          if (survivor !== owner) await this.untilFinished(survivor, { signal: own.signal });
        } finally {
          await this.releaseOwner(owner);
        }
      }
    } finally {
      leaveLane?.();
    }
  }

  // ── releasing

  /** Gives back what the agent holds; nothing when it doesn't hold it, so that it fits into `finally`. */
  async release(resource: string, agentId: string): Promise<void> {
    checkId(resource, 'resource');
    checkId(agentId, 'agentId');
    const lock = this.#client.owners.books.get(agentId)?.find(resource);
    if (lock === undefined) return;
    if (lock.names.length > 1) {
      throw invalid(
        `${resource} was taken together with ${lock.names.length - 1} others`,
        'Release the lease that acquireAll returned.',
      );
    }
    await lock.host.release(lock);
  }

  /** Gives back all locks of an agent and ends its waits. Returns how many locks. */
  async releaseAllForAgent(agentId: string): Promise<number> {
    checkId(agentId, 'agentId');
    return this.#release(this.#recordsOf(agentId), ended(`All locks of ${agentId} were released`));
  }

  /** Gives back all locks of one owner and ends its waits: a task run that is over. Returns how many locks. */
  async releaseOwner(owner: string): Promise<number> {
    checkNode(owner, 'owner');
    return this.#release(this.#client.owners.recordsOf(owner), ended(`${nodeName(owner)} is over`));
  }

  /** An agent died or was removed: its locks are given back, its waits rejected, and it is refused from now on. */
  async agentLeft(agentId: string): Promise<number> {
    this.#left.add(checkId(agentId, 'agentId'));
    const { books } = this.#client.owners;
    const records = this.#recordsOf(agentId);
    const isRun = ({ holder }: LockRecord): boolean => isRunNode(holder.id);
    // Its runs may still be at work under their locks: they are told to stop, and give them back when they are over.
    const held = records.filter((record) => isRun(record) && record.status === 'held');
    const others = records.filter((record) => !held.includes(record));
    // Without its record the agent can't take the short way past the check of who left.
    for (const [id, book] of books) if (book.agent === agentId && !isRunNode(id)) this.#forget.add(id);
    const released = this.#release(others, unknownAgent(agentId));
    for (const id of this.#forget) books.delete(id);
    this.#forget.clear();
    const told = this.#revokeGrants(held, `agent ${agentId} was removed`);
    return (await released) + (await told);
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
    checkId(resource, 'resource');
    const { graceMs, reason } = this.#force(options);
    return this.#revoke(resource, graceMs, reason, undefined);
  }

  /**
   * Gives a resource to an agent, as a conflict's resolution demands: before everybody who waits, once its holders are out. Nothing is taken
   * from anybody when the agent can't have it.
   * @throws INVALID_ARGUMENT for a semaphore, whose units are many holders'; as `acquire`
   */
  async moveLock(
    resource: string,
    toAgent: string,
    options: { readonly graceMs?: number; readonly reason?: string } = {},
  ): Promise<Lease> {
    checkId(resource, 'resource');
    checkId(toAgent, 'toAgent');
    const { graceMs, reason } = this.#force(options, `it was given to ${toAgent}`);
    const { items } = await this.#client.store.list({ resource }, { limit: 1 });
    if (items[0]?.holders.some(({ mode }) => typeof mode === 'object') === true) {
      throw invalid(
        `${resource} is a semaphore: it has no one holder to move it from`,
        'Take it back with `forceRelease`, and acquire units as anybody else.',
      );
    }
    const next = this.acquire(resource, toAgent, 1_000, { timeoutMs: this.#timeoutMs + graceMs });
    let isRefused = false;
    next.catch(() => {
      isRefused = true;
    });
    // A refusal that needs no reply is known by now.
    await Promise.resolve();
    if (!isRefused) await this.#revoke(resource, graceMs, reason, toAgent);
    return next;
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
    const { abort } = options;
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
    const held = this.#records('held').sort((a, b) => a.grant.token - b.grant.token);
    const found = new Map<string, string>();
    for (const lock of held) {
      for (const name of lock.names) if (!found.has(name)) found.set(name, lock.holder.label);
    }
    return found;
  }

  /** Every resource that is waited for through this manager, and who waits, next first. */
  getWaitingRequests(): Map<string, string[]> {
    const found = new Map<string, string[]>();
    for (const { names, holder } of this.#queue()) {
      for (const name of names) {
        const known = found.get(name);
        if (known === undefined) found.set(name, [holder.label]);
        else known.push(holder.label);
      }
    }
    return found;
  }

  /** Why an owner (or an agent, if that is its owner id) waits: what for, who has it, what that one waits for. Empty when it doesn't wait. */
  whyWaiting(owner: string): readonly WaitLink[] {
    const node = this.#nodeOf(checkNode(owner, 'owner'));
    this.#client.expose(node);
    const now = this.#client.runtime.clock.mono();
    let since = now;
    for (const { pending } of this.#client.owners.recordsOf(node)) {
      since = Math.min(since, pending?.startedAt ?? now);
    }
    return whyWaiting(node, now - since, {
      requirements: (waiter) => this.#graph.requirements(waiter),
      agent: (waiter) => this.#client.owners.find(waiter)?.agent ?? this.#graph.facts(waiter)?.agent,
    });
  }

  /** Since when each of these agents holds or wants a resource; only those that do. */
  requestTimes(resource: string, agents: readonly string[]): ReadonlyMap<string, Date> {
    checkId(resource, 'resource');
    const names = checkArray(agents, 'agents');
    const { clock } = this.#client.runtime;
    const found = new Map<string, Date>();
    for (const record of this.#client.owners.records()) {
      const { holder, pending } = record;
      if (!record.isOn(resource) || !names.includes(holder.label)) continue;
      const agoMs = pending === undefined ? this.#client.ageMs(record) : clock.mono() - pending.startedAt;
      const known = found.get(holder.label);
      const at = new Date(clock.wall() - agoMs);
      if (known === undefined || at < known) found.set(holder.label, at);
    }
    return found;
  }

  /** Held and contended resources of the whole backend, longest queue first. */
  list(
    filter: Parameters<LockStore['list']>[0] = {},
    page: PageRequest = { limit: 100 },
  ): Awaitable<Page<LockRow>> {
    const wanted = checkOptions<typeof filter>(filter, 'the filter');
    const { limit, ...more } = checkOptions(page, 'the page');
    checkInteger(limit, 'limit', 1, 1_000);
    if (more.after !== undefined && typeof more.after !== 'string')
      throw invalid(`Expected after to be the \`next\` of another page, got ${describe(more.after)}`);
    return andThen(this.#client.store.list(wanted, { limit, ...more }), namedRows);
  }

  /** How many resources are held, known (held, waited for or kept for their next use) and how many requests wait, now. */
  lockUse(): { readonly held: number; readonly known: number; readonly waiting: number } {
    const { live } = this.#client.store;
    if (live !== undefined) return live.counts();
    const held = this.getAllocations().size;
    return { held, known: held, waiting: this.#records('waiting').length };
  }

  /** Resolves when an owner holds and wants nothing any more; after `timeoutMs` (default `resourceTimeout`) in any case. */
  async untilFinished(
    owner: string,
    options: { readonly timeoutMs?: number; readonly signal?: AbortSignal | undefined } = {},
  ): Promise<void> {
    const node = this.#nodeOf(checkNode(owner, 'owner'));
    const { timeoutMs, signal } = checkOptions<typeof options>(options, 'the options');
    await this.#client.untilFinished(
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
    return this.#client.isAtWork(checkNode(node, 'node'));
  }

  // ── life

  /** Rejects waits with STOPPED, gives all locks back and accepts nothing more. Idempotent. */
  async shutdown(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#hints?.[Symbol.dispose]();
    this.#graph.stop();
    await this.#release([...this.#client.owners.records()], stopped());
    this.#client.keeper.stop();
  }

  /** This process's session is gone, and its locks with it: every lease is lost, every wait ends. */
  sessionLost(): void {
    const lost = new CoordinationError('SESSION_EXPIRED', 'The session of this process ran out');
    const records = [...this.#client.owners.records()];
    for (const record of records) this.#client.fail(record, lost);
    for (const record of records) this.#client.lost(record, lost);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.shutdown();
  }

  // ── inside

  /** Whom an id that somebody gave means: an owner, or a task's run. */
  #nodeOf(id: string): string {
    if (isRunNode(id) || this.#client.owners.books.get(id)?.idle === false) return id;
    const node = runNode(id);
    return this.#graph.knows(node) ? node : id;
  }

  #acquireFor(
    owner: Parameters<ResourceManager['acquireFor']>[0],
    requests: readonly ResourceRequest[],
    options: Pick<AcquireOptions, 'timeoutMs' | 'signal'>,
  ): Awaitable<LockRecord | undefined> {
    const { node, agent, priority } = checkRecord(owner, 'the owner');
    checkNode(node, 'owner');
    checkArray(requests, 'the resources');
    if (this.#stopped) throw stopped();
    const { timeoutMs, signal } = checkOptions<typeof options>(options, 'the options of a lock');
    const checked: CheckedOptions = {
      ...checkAcquireOptions({ timeoutMs, signal, agent, priority } as AcquireOptions, this.#timeoutMs),
      owner: node,
      task: nodeName(node),
    };
    const holder = this.#holderFor(node, agent, checked) as OwnerBook<LockRecord>;
    // The next attempt may be another agent's, and the first locks may have been taken before there was one.
    if (agent !== undefined) holder.agent = agent;
    return this.#client.acquire(
      holder,
      askOf(checked, planOf(requests), true, false),
      checked.priority,
      checked.timeoutMs,
    );
  }

  /** One resource, and nothing else said. */
  #acquireOne(resource: string): LockRecord | Promise<LockRecord> {
    if (this.#stopped) throw stopped();
    return this.#client.acquireOne(resource, undefined, this.#timeoutMs);
  }

  #acquire(
    request: Requests,
    options: AcquireOptions | undefined,
    wait = true,
  ): Awaitable<LockRecord | undefined> {
    if (this.#stopped) throw stopped();
    const checked = checkAcquireOptions(options, this.#timeoutMs);
    if (typeof request === 'string' && wait && isSimple(checked)) {
      const single = this.#client.single(undefined, undefined, checked.priority);
      return this.#client.acquireOne(request, single, checked.timeoutMs);
    }
    const plan = planOf(request);
    const holder = this.#holderFor(checked.owner, checked.agent ?? checked.owner, checked);
    return this.#client.acquire(
      holder,
      askOf(checked, plan, wait, false),
      checked.priority,
      checked.timeoutMs,
    );
  }

  #acquireAs(
    request: ResourceRequest,
    agentId: string,
    priority: Priority | undefined,
    options: AcquireOptions | undefined,
  ): Awaitable<LockRecord | undefined> {
    if (this.#stopped) throw stopped();
    const urgency = priority === undefined ? undefined : checkPriority(priority);
    if (options === undefined && typeof request === 'string')
      return this.#acquireBy(agentId, request, urgency ?? DEFAULT_PRIORITY, this.#timeoutMs);
    const checked = checkAcquireOptions(options, this.#timeoutMs);
    if (typeof request === 'string' && isSimple(checked))
      return this.#acquireBy(agentId, request, urgency ?? checked.priority, checked.timeoutMs);
    const plan = planOf(request);
    const owner = checked.owner ?? checkId(agentId, 'agentId');
    const book = this.#holderFor(owner, checked.agent ?? agentId, checked) as OwnerBook<LockRecord>;
    const held = plan.names.length === 1 ? book.find(plan.names[0] as string) : undefined;
    if (held !== undefined && !checked.reentrant) return again(held, plan);
    return this.#client.acquire(
      book,
      askOf(checked, plan, true, true),
      urgency ?? checked.priority,
      checked.timeoutMs,
    );
  }

  /** One resource for an agent, and nothing else said. */
  #acquireBy(
    agentId: string,
    resource: string,
    priority: number,
    timeoutMs: number,
  ): LockRecord | Promise<LockRecord> {
    const book = this.#client.owners.books.get(agentId) ?? this.#newAgent(agentId);
    book.priority = priority;
    return this.#client.acquireOne(resource, book, timeoutMs);
  }

  #newAgent(agentId: string): OwnerBook<LockRecord> {
    if (this.#left.has(checkId(agentId, 'agentId'))) throw unknownAgent(agentId);
    return this.#client.owners.book(agentId, agentId, undefined, 2);
  }

  #holderFor(
    owner: string | undefined,
    agent: string | undefined,
    { task, priority }: CheckedOptions,
  ): Holder {
    if (agent !== undefined && this.#left.has(agent)) throw unknownAgent(agent);
    if (owner === undefined) return this.#client.single(agent, task, priority);
    return this.#client.owners.book(owner, agent, task, priority);
  }

  #use<R>(lock: LockRecord, use: (lease: Lease) => R | Promise<R>): Promise<R> {
    let result: R | Promise<R>;
    try {
      result = use(lock);
    } catch (error) {
      return afterRelease(lock, () => Promise.reject(error as Error));
    }
    if (!isPromise(result)) {
      const value = result;
      return afterRelease(lock, () => Promise.resolve(value));
    }
    return result.then(
      (value) => afterRelease(lock, () => value),
      (error: unknown) =>
        afterRelease(lock, () => {
          throw error;
        }),
    );
  }

  async #release(records: readonly LockRecord[], reason: CoordinationError): Promise<number> {
    // Waits first: no lock that is given back here may go to one of them.
    for (const record of records) this.#client.fail(record, reason);
    const locks = records.filter(({ status }) => status === 'held');
    const done = locks.map((lock) => {
      lock.abort(reason);
      return this.#client.release(lock);
    });
    await Promise.all(done);
    return locks.length;
  }

  #recordsOf(agentId: string): readonly LockRecord[] {
    return [...this.#client.owners.records()].filter(({ holder }) => holder.agent === agentId);
  }

  #force(
    options: { readonly graceMs?: number; readonly reason?: string },
    why = 'by force',
  ): { readonly graceMs: number; readonly reason: string } {
    const given = checkOptions<typeof options>(options, 'the options of force');
    refuseUnknown('force', given, ['graceMs', 'reason']);
    const { graceMs = this.#graceMs, reason = why } = given;
    return { graceMs: checkMs(graceMs, 'graceMs'), reason: checkId(reason, 'reason') };
  }

  async #revoke(
    resource: string,
    graceMs: number,
    reason: string,
    except: string | undefined,
  ): Promise<number> {
    const { store, operations } = this.#client;
    const page = await store.list({ resource }, { limit: 1 });
    const holders = (page.items[0]?.holders ?? []).filter(
      ({ owner }) => except === undefined || (owner.agent ?? owner.id) !== except,
    );
    if (holders.length === 0) return 0;
    const items = holders.map(({ grant }) => ({ ...grant, revoke: { graceMs, reason } }));
    const { ended: told } = await operations.run((op) => store.release(op, items));
    return told.filter(Boolean).length;
  }

  /** Takes locks of this process back, with the usual grace. Returns how many holders were told. */
  async #revokeGrants(locks: readonly LockRecord[], reason: string): Promise<number> {
    if (locks.length === 0) return 0;
    const { store, operations } = this.#client;
    const revoke = { graceMs: this.#graceMs, reason };
    const items = locks.map(({ grant: { id, token } }) => ({ id, token, revoke }));
    const { ended: told } = await operations.run((op) => store.release(op, items));
    return told.filter(Boolean).length;
  }

  /** Waits in the order in which the store serves them, as far as that can be said without asking it. */
  #queue(): LockRecord[] {
    const { store } = this.#client;
    const waits = this.#records('waiting');
    const snapshot = waits.length > 0 && store.live !== undefined ? store.snapshot() : undefined;
    if (snapshot === undefined || isPromise(snapshot)) return waits;
    const place = new Map<string, number>();
    for (const { queue } of snapshot.resources) {
      queue.forEach(({ wait }, i) => place.set(wait.id, Math.max(place.get(wait.id) ?? 0, i)));
    }
    const placeOf = ({ quick, waitId }: LockRecord): number => place.get(quick?.id ?? waitId) ?? 0;
    return waits.sort((a, b) => placeOf(a) - placeOf(b));
  }

  #records(status: LockRecord['status']): LockRecord[] {
    return [...this.#client.owners.records()].filter((record) => record.status === status);
  }
}

function baseOf(
  parts: ResourceParts,
  logger: Logger | undefined,
): { readonly runtime: Runtime; readonly store: LockStore; readonly operations: Operations } {
  const { runtime, store, operations } = parts;
  if (runtime !== undefined && store !== undefined && operations !== undefined) {
    return { runtime, store, operations };
  }
  if (store !== undefined || operations !== undefined) {
    throw new CoordinationError(
      'INVALID_OPTION',
      'Expected `runtime`, `store` and `operations` to be given together',
    );
  }
  const alone = standalone({ logger, runtime });
  return {
    runtime: alone.runtime,
    store: new MemoryLockStore(alone.core),
    operations: alone.operations,
  };
}

function planOf(request: Requests): LockPlan {
  if (typeof request === 'string') {
    const resource = checkId(request, 'resource');
    return { names: [resource], items: [{ resource, mode: 'exclusive' }] };
  }
  if (!isList(request)) return planLocks([request]);
  if (request.length === 0) throw invalid('Expected at least one resource');
  return planLocks(request);
}

function isList(request: Exclude<Requests, string>): request is readonly ResourceRequest[] {
  return reading('the resource', () => Array.isArray(request));
}

/** Nothing is said but the priority and the longest wait. */
function isSimple({ owner, agent, task, signal, leaseMs, reentrant }: CheckedOptions): boolean {
  return (
    owner === undefined &&
    agent === undefined &&
    task === undefined &&
    signal === undefined &&
    leaseMs === undefined &&
    !reentrant
  );
}

function askOf(
  { signal, leaseMs, renew, reentrant }: CheckedOptions,
  plan: LockPlan,
  wait: boolean,
  legacy: boolean,
): AskOptions {
  return { plan, signal, leaseMs, renew, reentrant, wait, legacy, upgradeOf: undefined };
}

/** Who holds it already gets the same lease. @throws INVALID_ARGUMENT when it holds less than it asks for */
function again(held: LockRecord, plan: LockPlan): LockRecord {
  const modes = new Map(held.plan.items.map(({ resource, mode }) => [resource, mode]));
  if (plan.items.every(({ resource, mode }) => isSameMode(modes.get(resource), mode))) return held;
  throw invalid(
    `${held.holder.label} holds ${plan.names.join(', ')} already, in another mode`,
    'Use `lease.upgrade()`, or release it first.',
  );
}

/** Whom the victim of a deadlock is to wait for. */
function survivorIn(error: unknown): string {
  return DeadlockError.nodesOf(error)?.survivor ?? (error as DeadlockError).survivor;
}

/** Rows as people read them. */
function namedRows(page: Page<LockRow>): Page<LockRow> {
  const items = page.items.map((row) => ({
    ...row,
    holders: row.holders.map((held) =>
      isRunNode(held.owner.id) ? { ...held, owner: named(held.owner) } : held,
    ),
  }));
  return { ...page, items };
}

function named(owner: LockRow['holders'][number]['owner']): LockRow['holders'][number]['owner'] {
  const { id, agent, task, priority, since, defeats } = owner;
  return { id: nodeName(id), agent, task, priority, since, defeats };
}

function toLease(lock: Awaitable<LockRecord | undefined>): Promise<Lease> {
  return Promise.resolve(lock) as Promise<Lease>;
}

/** Continues once a lock is given back; at once, when that needs no reply. */
function afterRelease<R>(lock: LockRecord, next: () => R | Promise<R>): Promise<R> {
  if (lock.quick === undefined) return lock.host.release(lock).then(next);
  void lock.host.release(lock);
  return next() as Promise<R>;
}

function isSameMode(held: unknown, wanted: unknown): boolean {
  return held === 'exclusive' || held === wanted;
}

function unknownAgent(agentId: string): CoordinationError {
  return new CoordinationError('UNKNOWN_AGENT', `Agent ${agentId} was removed`, {
    hint: 'Register it again before it takes locks.',
  });
}

function ended(message: string): CoordinationError {
  return new CoordinationError('LEASE_LOST', message);
}

function stopped(): CoordinationError {
  return new CoordinationError('STOPPED', 'The resource manager was stopped');
}
