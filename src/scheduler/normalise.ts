import {
  checkArray,
  checkFunction,
  checkId,
  checkInteger,
  checkMs,
  checkNumber,
  checkObject,
  checkPriority,
  invalid,
} from '../core/check.ts';
import { describe } from '../core/errors.ts';
import { checkJson, copyJson, PAYLOAD_LIMITS } from '../core/json.ts';
import type { ResourceRequest } from '../core/lock-types.ts';
import type { Ids } from '../core/ports/runtime.ts';
import type { Edge, FailurePolicy, NewTask, TaskLimits } from '../core/ports/tasks.ts';
import { checkOption, OPTIONS, refuseUnknown } from '../core/options.ts';
import type { RetryOptions } from './retry.ts';
import type { TaskSettings } from './settings.ts';
import type { AgentProfile, Dependency, TaskSpec } from './types.ts';

const EMPTY: readonly never[] = Object.freeze([]);
const METADATA_LIMITS = { maxBytes: 16 * 1024, maxDepth: 16 };
const POLICIES: ReadonlySet<unknown> = new Set<FailurePolicy>(['cancel', 'skip', 'wait', 'continue']);
const DUPLICATES: ReadonlySet<unknown> = new Set(['return', 'replace', 'debounce']);
/** Dependencies of one task. */
const MAX_EDGES = 10_000;

type Draft = { -readonly [K in keyof NewTask]: NewTask[K] };
type SettingsDraft = { -readonly [K in keyof TaskSettings]: TaskSettings[K] };

export interface NormaliseFacts {
  readonly ids: Ids;
  readonly limits: TaskLimits;
  /** ms since 1970, to turn a user's `runAt` and deadline into durations. */
  wall(): number;
  /** Refuses locks that can't be taken, whenever they are asked for. @throws INVALID_ARGUMENT */
  readonly checkLocks?: ((requests: readonly ResourceRequest[]) => void) | undefined;
  /** What the store is to echo with the task. */
  localFor(id: string): object;
}

/**
 * Checks a task record once, at the public edge, and turns it into what the store takes; everything behind trusts it.
 * @throws INVALID_ARGUMENT naming the field
 */
export function normaliseTask(spec: TaskSpec, facts: NormaliseFacts): NewTask {
  checkObject(spec, 'a task');
  const type = checkId(spec.type, 'task.type');
  checkJson(spec.input, 'task.input', PAYLOAD_LIMITS);
  const id = spec.id === undefined ? facts.ids.next() : checkId(spec.id, 'task.id');
  const settings = settingsFrom(spec, facts);
  const task: Draft = {
    id,
    queue: spec.queue === undefined ? type : checkId(spec.queue, 'task.queue'),
    type,
    // As it is now, whatever the submitter does with it afterwards.
    payload: copyJson(spec.input),
    priority: checkPriority(spec.priority, 'task.priority'),
    capabilities:
      spec.capabilities === undefined ? EMPTY : checkNames(spec.capabilities, 'task.capabilities'),
    weight: spec.weight === undefined ? 1 : checkNumber(spec.weight, 'task.weight', 0, 1e9),
    dependsOn: spec.dependencies === undefined ? EMPTY : checkEdges(spec.dependencies),
    limits: limitsOf(spec, facts),
    local: facts.localFor(id),
    // Always there, for a field that comes later would lie in an object of its own.
    settings,
  };
  if (spec.id !== undefined) task.named = true;
  if (spec.idempotencyKey !== undefined) task.key = checkId(spec.idempotencyKey, 'task.idempotencyKey');
  if (spec.group !== undefined) task.group = checkId(spec.group, 'task.group');
  if (spec.parent !== undefined) task.parent = checkId(spec.parent, 'task.parent');
  if (spec.delayMs !== undefined) task.delayMs = checkMs(spec.delayMs, 'task.delayMs');
  if (spec.runAt !== undefined) task.delayMs = checkRunAt(spec.runAt, spec.delayMs, facts.wall());
  if (spec.onDuplicate !== undefined && spec.onDuplicate !== 'return')
    task.onDuplicate = checkDuplicate(spec);
  if (spec.metadata !== undefined || spec.description !== undefined) task.headers = metadataOf(spec);
  if (spec.agents !== undefined) {
    if (spec.agents.only !== undefined) task.agent = checkId(spec.agents.only, 'task.agents.only');
    const placement = placementOf(settings);
    if (placement !== undefined) task.placement = placement;
  }
  return task;
}

function limitsOf(spec: TaskSpec, facts: NormaliseFacts): TaskLimits {
  if (spec.deadline === undefined && spec.keepMs === undefined) return facts.limits;
  return {
    maxCrashes: facts.limits.maxCrashes,
    ...(spec.keepMs === undefined
      ? { keepMs: facts.limits.keepMs }
      : { keepMs: checkMs(spec.keepMs, 'task.keepMs'), keepFirm: true }),
    ...(spec.deadline === undefined
      ? {}
      : { deadlineMs: Math.max(0, checkDate(spec.deadline, 'task.deadline') - facts.wall()) }),
  };
}

function settingsFrom(spec: TaskSpec, facts: NormaliseFacts): TaskSettings | undefined {
  const { timeoutMs, retry, locks, breaker, preemptible, agents } = spec;
  if (
    timeoutMs === undefined &&
    retry === undefined &&
    locks === undefined &&
    breaker === undefined &&
    preemptible === undefined &&
    agents === undefined
  )
    return undefined;
  const settings: SettingsDraft = {};
  if (timeoutMs !== undefined) {
    if (retry === undefined && locks === undefined && breaker === undefined) {
      if (preemptible === undefined && agents === undefined) return limitedTo(timeoutMs);
    }
    settings.timeoutMs = checkNumber(timeoutMs, 'task.timeoutMs', 1, Number.POSITIVE_INFINITY);
  }
  if (retry !== undefined) settings.retry = checkRetry(retry);
  if (locks !== undefined && checkLocks(locks).length > 0) {
    settings.locks = copyJson(locks);
    facts.checkLocks?.(settings.locks);
  }
  if (breaker !== undefined) settings.breaker = checkId(breaker, 'task.breaker');
  if (preemptible !== undefined && typeof preemptible !== 'boolean') {
    throw invalid(`Expected task.preemptible to be true or false, got ${describe(preemptible)}`);
  }
  if (preemptible === true) settings.preemptible = true;
  if (agents !== undefined) addPlacement(settings, agents);
  return settings;
}

/** Settings that are a time limit and nothing else: most tasks that have settings have these, and many the same. */
let onlyLimited: TaskSettings = Object.freeze({ timeoutMs: 60_000 });

function limitedTo(timeoutMs: number): TaskSettings {
  if (onlyLimited.timeoutMs !== timeoutMs) {
    checkNumber(timeoutMs, 'task.timeoutMs', 1, Number.POSITIVE_INFINITY);
    onlyLimited = Object.freeze({ timeoutMs });
  }
  return onlyLimited;
}

function addPlacement(settings: SettingsDraft, agents: NonNullable<TaskSpec['agents']>): void {
  checkObject(agents, 'task.agents');
  if (agents.only !== undefined) settings.only = true;
  if (agents.prefer !== undefined) settings.prefer = checkNames(agents.prefer, 'task.agents.prefer', false);
  if (agents.exclude !== undefined)
    settings.exclude = checkNames(agents.exclude, 'task.agents.exclude', false);
  if (agents.maxLoadRatio !== undefined) {
    settings.maxLoadRatio = checkNumber(agents.maxLoadRatio, 'task.agents.maxLoadRatio', 0, 1e6);
  }
}

/** What the store is to tell tasks apart by, so that those nobody may take now don't stand in the way of others. */
function placementOf({ exclude, maxLoadRatio }: TaskSettings = {}): string | undefined {
  if (maxLoadRatio === undefined && (exclude === undefined || exclude.length === 0)) return undefined;
  return JSON.stringify([maxLoadRatio ?? null, ...(exclude ?? []).toSorted()]);
}

function checkRetry(retry: NonNullable<TaskSpec['retry']>): Partial<Omit<RetryOptions, 'decide'>> | false {
  if (retry === false) return false;
  checkObject(retry, 'task.retry');
  refuseUnknown('task.retry', retry, Object.keys(OPTIONS.retry));
  const { decide, ...plain } = retry;
  if (decide !== undefined) {
    throw invalid(
      'task.retry.decide is a function and cannot be stored with a task',
      'Set `decide` in the options of the manager, or on the task definition.',
    );
  }
  for (const [key, value] of Object.entries(plain)) {
    if (value !== undefined)
      checkOption(`task.retry.${key}`, OPTIONS.retry[key as keyof typeof plain], value);
  }
  return plain;
}

function checkLocks(locks: readonly ResourceRequest[]): readonly ResourceRequest[] {
  checkArray(locks, 'task.locks');
  if (locks.length > 64) throw invalid(`Expected task.locks to have at most 64 items, got ${locks.length}`);
  checkJson(locks, 'task.locks', METADATA_LIMITS);
  return locks;
}

function checkEdges(dependencies: readonly Dependency[]): readonly Edge[] {
  checkArray(dependencies, 'task.dependencies');
  if (dependencies.length === 0) return EMPTY;
  if (dependencies.length > MAX_EDGES)
    throw invalid(`Expected at most ${MAX_EDGES} dependencies, got ${dependencies.length}`);
  const edges = new Array<Edge>(dependencies.length);
  let found = 0;
  for (const dependency of dependencies) {
    const edge = toEdge(dependency);
    // The few of most tasks are compared faster than a table is made.
    if (found === FEW_EDGES) return manyEdges(dependencies);
    const same = indexOfParent(edges, found, edge.parent);
    edges[same] = edge;
    if (same === found) found += 1;
  }
  edges.length = found;
  return edges;
}

const FEW_EDGES = 8;

function indexOfParent(edges: readonly Edge[], found: number, parent: string): number {
  for (let i = 0; i < found; i++) if (edges[i]?.parent === parent) return i;
  return found;
}

function manyEdges(dependencies: readonly Dependency[]): readonly Edge[] {
  const edges = new Map<string, Edge>();
  for (const dependency of dependencies) {
    const edge = toEdge(dependency);
    edges.set(edge.parent, edge);
  }
  return [...edges.values()];
}

function toEdge(dependency: Dependency): Edge {
  if (typeof dependency === 'string')
    return { parent: checkId(dependency, 'a dependency'), onFailure: 'cancel' };
  checkObject(dependency, 'a dependency');
  const { task, onFailure = 'cancel' } = dependency;
  if (!POLICIES.has(onFailure)) {
    throw invalid(`Expected onFailure to be cancel, skip, wait or continue, got ${describe(onFailure)}`);
  }
  return { parent: checkId(task, 'a dependency'), onFailure };
}

/** Names, sorted and without doubles unless their order means something. */
export function checkNames(names: readonly string[], what: string, sorted = true): readonly string[] {
  checkArray(names, what);
  if (names.length === 0) return EMPTY;
  if (names.length > 1_000) throw invalid(`Expected ${what} to have at most 1000 items, got ${names.length}`);
  const unique = [
    ...new Set((names as readonly unknown[]).map((name) => checkId(name, `an item of ${what}`))),
  ];
  return sorted ? unique.toSorted() : unique;
}

function metadataOf(spec: TaskSpec): Readonly<Record<string, unknown>> {
  const metadata =
    spec.metadata === undefined
      ? {}
      : (checkObject(spec.metadata, 'task.metadata') as Readonly<Record<string, unknown>>);
  checkJson(metadata, 'task.metadata', METADATA_LIMITS);
  if (spec.description === undefined) return copyJson(metadata);
  checkJson(spec.description, 'task.description', METADATA_LIMITS);
  return { description: spec.description, ...copyJson(metadata) };
}

function checkDate(value: Date, what: string): number {
  const at: unknown = value instanceof Date ? value.getTime() : undefined;
  if (typeof at !== 'number' || Number.isNaN(at))
    throw invalid(`Expected ${what} to be a valid Date, got ${describe(value)}`);
  return at;
}

/** How long it is until then: a clock that is set later changes nothing any more. */
function checkRunAt(runAt: Date, delayMs: number | undefined, wall: number): number {
  if (delayMs !== undefined)
    throw invalid('task.delayMs and task.runAt both say when', 'Leave one of them out.');
  return Math.max(0, checkDate(runAt, 'task.runAt') - wall);
}

function checkDuplicate(spec: TaskSpec): 'replace' | 'debounce' {
  if (!DUPLICATES.has(spec.onDuplicate)) {
    throw invalid(
      `Expected task.onDuplicate to be return, replace or debounce, got ${describe(spec.onDuplicate)}`,
    );
  }
  if (spec.idempotencyKey === undefined) {
    throw invalid('task.onDuplicate needs task.idempotencyKey', 'Name what is to be replaced or debounced.');
  }
  return spec.onDuplicate as 'replace' | 'debounce';
}

/** An agent record, checked. */
export interface NormalisedAgent {
  readonly id: string;
  readonly capabilities: readonly string[];
  /** Types it takes; `undefined`: all. */
  readonly types: readonly string[] | undefined;
  readonly slots: number;
  readonly priority: number;
  readonly cost: number;
  readonly silenceMs: number;
  readonly profile: AgentProfile;
}

/** @throws INVALID_ARGUMENT naming the field */
export function normaliseAgent(profile: AgentProfile, defaultSlots: number): NormalisedAgent {
  checkObject(profile, 'an agent');
  const { handler, metadata } = profile;
  if (handler !== undefined && typeof handler !== 'function') {
    checkObject(handler, 'agent.handler');
    for (const [type, one] of Object.entries(handler)) checkFunction(one, `agent.handler.${type}`);
  }
  if (metadata !== undefined) checkObject(metadata, 'agent.metadata');
  const cost = metadata?.['cost'];
  return {
    id: checkId(profile.id, 'agent.id'),
    capabilities:
      profile.capabilities === undefined ? EMPTY : checkNames(profile.capabilities, 'agent.capabilities'),
    types: typeof handler === 'object' ? Object.keys(handler).toSorted() : undefined,
    slots:
      profile.maxConcurrentTasks === undefined
        ? defaultSlots
        : checkInteger(profile.maxConcurrentTasks, 'agent.maxConcurrentTasks', 1, 1e6),
    priority: profile.priority === undefined ? 0 : checkNumber(profile.priority, 'agent.priority', -1e6, 1e6),
    cost: typeof cost === 'number' && Number.isFinite(cost) ? cost : 1,
    silenceMs:
      profile.silenceMs === undefined
        ? Number.POSITIVE_INFINITY
        : checkNumber(profile.silenceMs, 'agent.silenceMs', 1, Number.POSITIVE_INFINITY),
    profile,
  };
}
