import type { EnqueueResult, FailurePolicy, NewTask, TaskState } from '../../../core/ports/tasks.ts';
import type { Operation } from '../../../core/ports/words.ts';
import { type EffectsAnswer, stateOfCode } from './answers.ts';
import { payloadDigest } from './payload-digest.ts';
import { numberList, TextLists, textOf } from './text-lists.ts';

export const ENQUEUE =
  'select agentmesh.task_enqueue_v1($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21,$22,$23,$24,$25,$26) as answer';

export type EnqueueOwn = {
  /** One a task: the number of its state, or d duplicate, c conflict, y cycle, f full. */
  readonly codes: string;
  /** One for each of the latter. */
  readonly extras: readonly unknown[] | null;
};

const POLICIES: readonly FailurePolicy[] = ['cancel', 'skip', 'wait', 'continue'];
const MODES = { replace: 1, debounce: 2 } as const;
/** 30 years: what is later never comes. */
const MAX_MS = 1e12;

/** What the server is told of a batch. @param lanes of the tasks, in order */
export function enqueueValues(
  { session, sequence }: Operation,
  tasks: readonly NewTask[],
  lanes: readonly number[],
): readonly unknown[] {
  const ids = tasks.map(({ id }) => id);
  const keys = tasks.map(({ key }) => key);
  const parents = tasks.map(({ parent }) => parent);
  const edges = edgesOf(tasks);
  const lists = new TextLists([...ids, ...keys, ...parents, ...edges.parents]);
  const isPlain = edges.items.length === 0;
  return [
    session,
    sequence,
    tasks.length,
    lists.separator,
    lists.null,
    lists.all(ids),
    numberList(lanes),
    lists.some(tasks.map(({ payload }) => textOf(payload))),
    numberList(tasks.map(({ priority }) => priority)),
    numberList(tasks.map(({ weight }) => weight)),
    numberList(tasks.map(({ delayMs = 0 }) => Math.min(Math.max(delayMs, 0), MAX_MS))),
    numberList(
      tasks.map(({ limits: { deadlineMs } }) =>
        deadlineMs === undefined ? -1 : Math.min(deadlineMs, MAX_MS),
      ),
    ),
    numberList(tasks.map(({ limits: { keepMs } }) => Math.min(Math.max(keepMs, 0), MAX_MS))),
    numberList(tasks.map(({ limits: { maxCrashes } }) => Math.min(maxCrashes, 1e9))),
    lists.some(tasks.map(({ headers }) => textOf(headers))),
    lists.some(tasks.map(({ settings }) => textOf(settings))),
    lists.some(parents),
    lists.some(keys),
    lists.some(tasks.map(digestOf)),
    lists.some(tasks.map(({ dependsOn }) => dependsText(dependsOn))),
    numberList(tasks.map(({ onDuplicate }) => (onDuplicate === undefined ? 0 : MODES[onDuplicate]))),
    isPlain ? null : `{${edges.items.join(',')}}`,
    isPlain ? null : lists.all(edges.parents),
    isPlain ? null : `{${edges.policies.join(',')}}`,
    isPlain ? null : `{${edges.places.join(',')}}`,
    mustGoOneByOne(tasks),
  ];
}

export function enqueueResults(
  tasks: readonly NewTask[],
  { own: { codes, extras } }: EffectsAnswer<EnqueueOwn>,
): readonly EnqueueResult[] {
  let at = 0;
  return tasks.map((_, i) => {
    const code = codes[i] as string;
    const state = stateOfCode(code);
    return state === undefined ? refusal(code, extras?.[at++]) : enqueued(state);
  });
}

/** Queues in which a batch has put something ready. */
export function filledQueues(tasks: readonly NewTask[], codes: string): readonly string[] {
  const queues: string[] = [];
  let last: string | undefined;
  for (const [i, { queue }] of tasks.entries()) {
    if (queue === last || codes[i] !== '2') continue;
    last = queue;
    queues.push(queue);
  }
  return queues;
}

function enqueued(state: TaskState): EnqueueResult {
  return { status: 'enqueued', state } as EnqueueResult;
}

function refusal(code: string, extra: unknown): EnqueueResult {
  switch (code) {
    case 'd': {
      const [id, state, replaced] = extra as [string, TaskState, boolean];
      return { status: 'duplicate', id, state, replaced };
    }
    case 'c':
      return { status: 'conflict', id: extra as string };
    case 'y':
      return { status: 'cycle', path: extra as readonly string[] };
    default: {
      const [queue, length] = extra as [string, number];
      return { status: 'full', queue, length };
    }
  }
}

interface EdgeLists {
  readonly items: number[];
  readonly parents: string[];
  readonly policies: number[];
  readonly places: number[];
}

function edgesOf(tasks: readonly NewTask[]): EdgeLists {
  const lists: EdgeLists = { items: [], parents: [], policies: [], places: [] };
  for (const [i, { dependsOn }] of tasks.entries()) {
    for (const [place, { parent, onFailure }] of dependsOn.entries()) {
      lists.items.push(i + 1);
      lists.parents.push(parent);
      lists.policies.push(POLICIES.indexOf(onFailure));
      lists.places.push(place + 1);
    }
  }
  return lists;
}

function dependsText(edges: NewTask['dependsOn']): string | undefined {
  if (edges.length === 0) return undefined;
  return JSON.stringify(edges.map(({ parent, onFailure }) => [parent, POLICIES.indexOf(onFailure)]));
}

/**
 * Tasks that may replace others, ids of the user's that come twice, and tasks that depend on themselves or on a later one of the batch have
 * to be looked at in their order.
 */
function mustGoOneByOne(tasks: readonly NewTask[]): boolean {
  let isPlain = true;
  for (const { onDuplicate, dependsOn, named } of tasks) {
    if (onDuplicate !== undefined) return true;
    isPlain &&= dependsOn.length === 0 && named !== true;
  }
  if (isPlain) return false;
  const places = new Map(tasks.map(({ id }, i) => [id, i]));
  return (
    places.size < tasks.length ||
    tasks.some(({ dependsOn }, i) => dependsOn.some(({ parent }) => (places.get(parent) ?? -1) >= i))
  );
}

/** Of the payload, where it may ever be compared with another. */
function digestOf({ key, named, payload }: NewTask): string | undefined {
  return key === undefined && named !== true ? undefined : payloadDigest(payload);
}
