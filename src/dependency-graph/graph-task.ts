import { checkId, checkNumber, checkObject, checkPriority, invalid, type Priority } from '../core/check.ts';
import { CoordinationError, describe } from '../core/errors.ts';
import type { FailurePolicy } from '../core/ports/tasks.ts';
import { POLICIES } from './task-standing.ts';

/** A task as the graph needs it. A whole task record fits: what the graph has no use for is passed over. */
export interface GraphTask {
  readonly id: string;
  /** Tasks that must be done before, added or not yet; `onFailure` says what becomes of this task when that one fails. */
  readonly dependencies?: readonly (
    | string
    | { readonly task: string; readonly onFailure?: FailurePolicy | undefined }
  )[];
  /** Expected effort in any one unit, for the critical path. @default 1 */
  readonly weight?: number | undefined;
  /** Larger is more urgent. @default 2 */
  readonly priority?: Priority | undefined;
  /** This and the rest is passed over. */
  readonly type?: string | undefined;
  readonly description?: string | undefined;
  readonly input?: unknown;
  readonly metadata?: Readonly<Record<string, unknown>> | undefined;
}

/** A checked {@link GraphTask}: `policies[i]` is the index in {@link POLICIES} for `parents[i]`; no parent twice. */
export interface CheckedTask {
  readonly id: string;
  readonly priority: number;
  readonly weight: number;
  readonly parents: readonly string[];
  readonly policies: readonly number[];
}

/** Reads a task once and checks all of it. @throws INVALID_ARGUMENT */
export function readTask(task: GraphTask, defaultPolicy: number): CheckedTask {
  try {
    checkObject(task, 'the task');
    const id = checkId(task.id, 'the id of a task');
    const { dependencies, weight } = task;
    const parents: string[] = [];
    const policies: number[] = [];
    if (dependencies !== undefined) readDependencies(id, dependencies, defaultPolicy, parents, policies);
    return {
      id,
      priority: checkPriority(task.priority, `the priority of task ${id}`),
      weight: weight === undefined ? 1 : checkNumber(weight, `the weight of task ${id}`, 0),
      parents,
      policies,
    };
  } catch (error) {
    if (error instanceof CoordinationError) throw error;
    throw new CoordinationError('INVALID_ARGUMENT', "The task can't be read: a getter or proxy threw", {
      cause: error,
    });
  }
}

/** The index of a policy. @throws INVALID_ARGUMENT */
export function checkPolicy(policy: unknown): number {
  const index = (POLICIES as readonly unknown[]).indexOf(policy);
  if (index < 0)
    throw invalid(`Expected \`onFailure\` to be one of ${POLICIES.join(', ')}, got ${describe(policy)}`);
  return index;
}

/** Up to here a scan of the list is cheaper than a Map. */
const SHORT = 16;

function readDependencies(
  id: string,
  dependencies: NonNullable<GraphTask['dependencies']>,
  defaultPolicy: number,
  parents: string[],
  policies: number[],
): void {
  if (!Array.isArray(dependencies))
    throw invalid(`Expected the dependencies of task ${id} to be an array, got ${describe(dependencies)}`);
  const { length } = dependencies;
  const seen = length > SHORT ? new Map<string, number>() : undefined;
  for (let i = 0; i < length; i++) {
    const entry: unknown = dependencies[i];
    const parent = checkId(typeof entry === 'string' ? entry : named(entry), 'the id of a dependency');
    const policy = typeof entry === 'string' ? defaultPolicy : policyOf(entry as object, defaultPolicy);
    const earlier = seen === undefined ? parents.indexOf(parent) : (seen.get(parent) ?? -1);
    if (earlier < 0) {
      seen?.set(parent, parents.length);
      parents.push(parent);
      policies.push(policy);
    } else if (policies[earlier] !== policy) {
      throw invalid(`Task ${id} names its dependency ${parent} twice, with different policies`);
    }
  }
}

function named(entry: unknown): unknown {
  return (checkObject(entry, 'a dependency') as { task?: unknown }).task;
}

function policyOf(entry: { onFailure?: unknown }, defaultPolicy: number): number {
  const { onFailure } = entry;
  return onFailure === undefined ? defaultPolicy : checkPolicy(onFailure);
}
