import { checkArray, checkId, checkMs, checkObject, invalid } from '../core/check.ts';
import { describe } from '../core/errors.ts';
import { checkOptions } from '../core/options.ts';
import type { TaskFilter } from '../core/ports/tasks.ts';
import { TASK_STATES } from '../core/task-states.ts';

const STATES: ReadonlySet<unknown> = new Set(TASK_STATES);
const TEXTS = ['queue', 'type', 'agent', 'group', 'key', 'parent', 'errorSignature', 'errorText'] as const;
const MAX_TEXT = 1_000;
const ORDERS: ReadonlySet<unknown> = new Set(['newest', 'queue', 'ended']);

/** Checks a filter of tasks: one that isn't understood would match everything. @throws INVALID_ARGUMENT, INVALID_OPTION */
export function checkFilter(given: TaskFilter): TaskFilter {
  checkObject(given, 'the filter');
  const filter = checkOptions('filter', given, ['ids', 'state', 'olderThanMs', ...TEXTS], 'the filter');
  const { ids, state, olderThanMs } = filter;
  if (ids !== undefined) for (const id of checkArray(ids, 'filter.ids')) checkId(id, 'an item of filter.ids');
  for (const one of state === undefined ? [] : checkArray(state, 'filter.state'))
    if (!STATES.has(one))
      throw invalid(`Expected filter.state to hold ${[...STATES].join(', ')}, got ${describe(one)}`);
  if (olderThanMs !== undefined) checkMs(olderThanMs, 'filter.olderThanMs');
  for (const name of TEXTS) {
    const text: unknown = filter[name];
    if (text !== undefined && (typeof text !== 'string' || text.length > MAX_TEXT))
      throw invalid(`Expected filter.${name} to be a string, got ${describe(text)}`);
  }
  return filter;
}

/** Checks a request for a page; its limit is checked where it is read. @throws INVALID_ARGUMENT, INVALID_OPTION */
export function checkPage<P extends { readonly after?: unknown; readonly order?: unknown }>(
  given: P,
  known: readonly (keyof P & string)[],
): P {
  const page = checkOptions('page', given, known, 'the page');
  const { after, order } = page;
  if (after !== undefined && (typeof after !== 'string' || after.length > MAX_TEXT))
    throw invalid(`Expected after to be the \`next\` of another page, got ${describe(after)}`);
  if (order !== undefined && !ORDERS.has(order))
    throw invalid(`Expected order to be newest, queue or ended, got ${describe(order)}`);
  return page;
}
