import {
  checkArray,
  checkId,
  checkPriority,
  checkRecord,
  invalid,
  type Priority,
  reading,
} from '../core/check.ts';
import { CoordinationError } from '../core/errors.ts';
import type { AcquireOptions, ResourceRequest } from '../core/lock-types.ts';
import { checkOptions } from '../core/options.ts';
import type { Awaitable } from '../core/ports/words.ts';
import { checkNode, nodeName } from '../core/run-node.ts';
import { type CheckedOptions, checkAcquireOptions } from './acquire-options.ts';
import type { LockClient } from './lock-client.ts';
import { type AskOptions, DEFAULT_PRIORITY, type Holder, type LockRecord } from './lock-record.ts';
import type { OwnerBook } from './owner-book.ts';
import { type LockPlan, planLocks } from './resource-request.ts';

export type Requests = ResourceRequest | readonly ResourceRequest[];

/** The run of a task that takes locks. */
export interface RunOwner {
  readonly node: string;
  readonly agent?: string | undefined;
  readonly priority: number;
}

export type RunOptions = Pick<AcquireOptions, 'timeoutMs' | 'signal'>;

/** Checks what users write, in each of its forms, and asks the client for it. Agents that left are refused. */
export class LockIntake {
  readonly #client: LockClient;
  readonly #timeoutMs: number;
  readonly #left: { has(agentId: string): boolean };

  /** @param timeoutMs longest wait when nothing is said; @param left agents that were removed */
  constructor(client: LockClient, timeoutMs: number, left: { has(agentId: string): boolean }) {
    this.#client = client;
    this.#timeoutMs = timeoutMs;
    this.#left = left;
  }

  /** For an owner of its own, or the one that the options name. */
  acquire(
    request: Requests,
    options: AcquireOptions | undefined,
    wait = true,
  ): Awaitable<LockRecord | undefined> {
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

  /** The documented form: the agent is the owner. */
  acquireAs(
    request: ResourceRequest,
    agentId: string,
    priority: Priority | undefined,
    options: AcquireOptions | undefined,
  ): Awaitable<LockRecord | undefined> {
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

  /** For a run of a task. */
  acquireFor(
    owner: RunOwner,
    requests: readonly ResourceRequest[],
    options: RunOptions,
  ): Awaitable<LockRecord | undefined> {
    const { node, agent, priority } = checkRecord(owner, 'the owner');
    checkNode(node, 'owner');
    checkArray(requests, 'the resources');
    const given = checkOptions('acquireFor', options, ['timeoutMs', 'signal']);
    const { timeoutMs, signal } = given;
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

function isSameMode(held: unknown, wanted: unknown): boolean {
  return held === 'exclusive' || held === wanted;
}

export function unknownAgent(agentId: string): CoordinationError {
  return new CoordinationError('UNKNOWN_AGENT', `Agent ${agentId} was removed`, {
    hint: 'Register it again before it takes locks.',
  });
}
