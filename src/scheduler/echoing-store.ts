import { andThen } from '../core/awaitable.ts';
import type { Claim, Consequences, TaskRecord, TaskStore } from '../core/ports/tasks.ts';
import { slices } from '../core/slices.ts';
import type { LocalHandles } from './local-handles.ts';

/**
 * A store across a network as one in the same process answers: with the handles of this process for its tasks (`local`). What it can't
 * know of is the handle of a task that neither runs here nor is waited for here; nobody needs that.
 *
 * @param most items of one read; more are read in several
 */
export function echoing(store: TaskStore, handles: LocalHandles, most: number): TaskStore {
  const echo = <T extends object>(id: string, answer: T): T => {
    const local = handles.find(id);
    return local === undefined ? answer : { ...answer, local };
  };
  const record = (one: TaskRecord | undefined): TaskRecord | undefined => one && echo(one.id, one);
  const consequences = <C extends Consequences>(answer: C): C =>
    answer.ended.length === 0 ? answer : { ...answer, ended: answer.ended.map((one) => echo(one.task, one)) };
  const claims = <A extends { readonly claims: readonly Claim[] }>(answer: A): A => {
    if (answer.claims.length === 0) return answer;
    const locals = handles.claimed(answer.claims.map(({ task }) => task));
    // The claim itself is handed back when it is settled, so the store's own object stays what it is.
    answer.claims.forEach((claim, i) => {
      (claim as { local?: object }).local = locals[i] as object;
    });
    return answer;
  };
  const { within } = store;
  return {
    enqueue: (op, tasks) =>
      andThen(store.enqueue(op, tasks), (answer) => ({
        ...consequences(answer),
        results: answer.results.map((one) => (one.status === 'duplicate' ? echo(one.id, one) : one)),
      })),
    claim: (op, request) => andThen(store.claim(op, request), claims),
    start: (op, refs) => store.start(op, refs),
    settle: (op, settlements) => andThen(store.settle(op, settlements), consequences),
    takeover: (op, request) => andThen(store.takeover(op, request), claims),
    cancel: (op, requests) =>
      andThen(store.cancel(op, requests), (answer) => ({
        ...consequences(answer),
        requested: answer.requested.map((one) => echo(one.task, one)),
      })),
    revise: (op, request) => andThen(store.revise(op, request), consequences),
    configure: (op, queue, revision, settings) => store.configure(op, queue, revision, settings),
    sweep: (op, limit) => andThen(store.sweep(op, limit), consequences),
    get: (ids) => andThen(getAll(store, ids, most), (records) => records.map(record)),
    list: (filter, page) =>
      andThen(store.list(filter, page), (found) => ({
        ...found,
        items: found.items.map((one) => record(one) as TaskRecord),
      })),
    history: (filter, page) => store.history(filter, page),
    counts: (queues) => countsOf(store, queues, most),
    ...(within === undefined ? {} : { within: (transaction: unknown) => within.call(store, transaction) }),
  };
}

function getAll(store: TaskStore, ids: readonly string[], most: number): ReturnType<TaskStore['get']> {
  if (ids.length <= most) return store.get(ids);
  return Promise.all([...slices(ids, most)].map((part) => store.get(part))).then((parts) => parts.flat());
}

function countsOf(
  store: TaskStore,
  queues: readonly string[] | undefined,
  most: number,
): ReturnType<TaskStore['counts']> {
  if (queues === undefined || queues.length <= most) return store.counts(queues);
  return Promise.all([...slices(queues, most)].map((part) => store.counts(part))).then((parts) => ({
    at: parts[0]?.at as Awaited<ReturnType<TaskStore['counts']>>['at'],
    queues: parts.flatMap((part) => part.queues),
  }));
}
