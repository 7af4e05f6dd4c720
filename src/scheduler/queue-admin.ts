import { andThen } from '../core/awaitable.ts';
import { backendMs } from '../core/backend-ms.ts';
import {
  checkArray,
  checkId,
  checkInteger,
  checkMs,
  checkObject,
  checkPriority,
  checkRecord,
  invalid,
  type Priority,
} from '../core/check.ts';
import { CoordinationError, describe } from '../core/errors.ts';
import type { EventSink } from '../core/events.ts';
import { checkJson, copyJson, PAYLOAD_LIMITS } from '../core/json.ts';
import type { Operations } from '../core/operations.ts';
import { OPTIONS } from '../core/option-table.ts';
import { checkOption, checkOptions } from '../core/options.ts';
import type {
  Consequences,
  QueueCounts,
  QueueSettings,
  Revision,
  TaskFilter,
  TaskRecord,
  TaskState,
  TaskStore,
  Transition,
} from '../core/ports/tasks.ts';
import type { Awaitable, BackendTime, Cursor, Page, PageRequest } from '../core/ports/words.ts';
import { slices } from '../core/slices.ts';
import { LocalHandle } from './task-handle.ts';
import { checkFilter, checkPage } from './task-filter.ts';
import { toView } from './task-view.ts';
import type { TaskView } from './types.ts';

const PAGE = 1_000;
const REVIVABLE: readonly TaskState[] = ['dead', 'cancelled'];
const DEFAULTS: QueueSettings = { paused: false, ageStepMs: OPTIONS.queue.ageStepMs.default };

export interface QueueAdminDeps {
  readonly store: TaskStore;
  /** Most items of one call to a store across a network; absent: it is in this process. */
  readonly farBatch: number | undefined;
  readonly operations: () => Operations;
  readonly events: EventSink;
  readonly wake: () => void;
  readonly due: (inMs: number, hold: boolean) => void;
  readonly consequences: (answer: Consequences) => void;
  /** What was taken from this queue and hasn't begun goes back. */
  readonly paused: (queue: string) => void;
  /** Those of these tasks that are assigned here and haven't begun go back; resolves to how many once that is stored. */
  readonly redecide: (ids: ReadonlySet<string>) => Promise<number>;
  /** The settings of a queue are these now. */
  readonly configured: (queue: string, settings: QueueSettings) => void;
  /** A capacity shrank: look for deadlocks. */
  readonly shrank: () => void;
  /** A task lives again that is pinned to this agent, which may have left. */
  readonly stranded: (agentId: string) => void;
}

/** A page of a list. `at`: when it was made, ms since 1970. */
export type ListedPage<T> = Omit<Page<T>, 'at'> & { readonly at: number };

/** A change of a task's state. `at`: ms since 1970. */
export type TaskTransition = Omit<Transition, 'at'> & { readonly at: number };

/** Asks for a page of a list. */
export interface ListPage {
  readonly after?: Cursor;
  /** @default 100, at most 1,000 */
  readonly limit?: number;
}

/** Looks at queues and changes what waits in them; for operators, CLI and dashboard. */
export class QueueAdmin {
  readonly #deps: QueueAdminDeps;
  /** Most tasks of one call. */
  readonly #most: number;

  constructor(deps: QueueAdminDeps) {
    this.#deps = deps;
    this.#most = Math.min(PAGE, deps.farBatch ?? PAGE);
  }

  /** Tasks by state, from running totals. @param queues all by default */
  async counts(queues?: readonly string[]): Promise<readonly QueueCounts[]> {
    if (queues !== undefined)
      for (const name of checkArray(queues, 'queues')) checkId(name, 'an item of queues');
    return (await this.#deps.store.counts(queues)).queues;
  }

  /**
   * A page of tasks, newest first; dead letters are `{ state: ['dead'] }`.
   * @param page details: false leaves out input, result and error, which a durable store reads one by one (default true)
   */
  async list(
    filter: TaskFilter = {},
    page: ListPage & {
      readonly order?: 'newest' | 'queue' | 'ended';
      readonly details?: boolean;
    } = {},
  ): Promise<ListedPage<TaskView>> {
    const { order, details = true, ...part } = checkPage(page, ['after', 'limit', 'order', 'details']);
    if (typeof details !== 'boolean')
      throw invalid(`Expected details to be true or false, got ${describe(details)}`);
    const wanted = checkFilter(filter);
    if (this.#parts(wanted).length > 1)
      throw invalid(
        `Expected at most ${this.#most} ids, got ${wanted.ids?.length}`,
        'Ask for them in parts.',
      );
    const found = await this.#deps.store.list(wanted, {
      ...pageOf(part),
      ...(order === undefined ? {} : { order }),
    });
    const records = details ? await this.#full(found.items) : found.items;
    const items = records.map((record) => toView(record, (record.local as LocalHandle | undefined)?.run));
    return { ...found, at: backendMs(found.at), items };
  }

  /** One that was forgotten meanwhile is shown as it was listed. */
  async #full(listed: readonly TaskRecord[]): Promise<readonly TaskRecord[]> {
    if (listed.length === 0) return listed;
    const full = await this.#deps.store.get(listed.map(({ id }) => id));
    return listed.map((record, i) => full[i] ?? record);
  }

  /** Every transition of a task, oldest first; in memory only the newest transitions of the mesh are kept. */
  async history(taskId: string, page: ListPage = {}): Promise<ListedPage<TaskTransition>> {
    const found = await this.#deps.store.history({ task: checkId(taskId, 'taskId') }, pageOf(page));
    const items = found.items.map((transition) => ({ ...transition, at: backendMs(transition.at) }));
    return { ...found, at: backendMs(found.at), items };
  }

  /** Stops starting tasks of this queue; what runs goes on. */
  async pause(queue: string): Promise<void> {
    await this.configure(queue, { paused: true });
    this.#deps.events.emit('queue:paused', { queue });
    this.#deps.shrank();
  }

  async resume(queue: string): Promise<void> {
    await this.configure(queue, { paused: false });
    this.#deps.events.emit('queue:resumed', { queue });
    // What waits here wants slots from now on.
    this.#deps.shrank();
  }

  /** Changes the settings that are given. @throws INVALID_OPTION, INVALID_ARGUMENT */
  async configure(queue: string, changes: Partial<QueueSettings>): Promise<QueueSettings> {
    checkId(queue, 'queue');
    const changed = checkSettings(changes);
    for (;;) {
      const [known] = await this.counts([queue]);
      const settings = merged(known?.settings ?? DEFAULTS, changed);
      const { operations, store } = this.#deps;
      const answer = await operations().run((op) => store.configure(op, queue, known?.revision, settings));
      if (answer.status !== 'set') continue;
      this.#deps.configured(queue, settings);
      if (settings.paused) this.#deps.paused(queue);
      else this.#deps.wake();
      if (changed.maxRunning !== undefined || changed.maxRunningPerGroup !== undefined) this.#deps.shrank();
      return settings;
    }
  }

  /**
   * Changes the priority of tasks that haven't begun, those in run queues of this process included; running ones take it when they are
   * next ready (`deferred`).
   */
  async reprioritise(
    filter: TaskFilter,
    priority: Priority,
  ): Promise<{ readonly changed: number; readonly deferred: number }> {
    const answer = await this.#revise(filter, { set: 'priority', priority: checkPriority(priority) });
    return this.#redecide(filter, answer);
  }

  /** What is assigned here and hasn't begun goes back to its queue, so that the change holds for it at once. */
  async #redecide(
    filter: TaskFilter,
    { changed, deferred }: { readonly changed: number; readonly deferred: number },
  ): Promise<{ readonly changed: number; readonly deferred: number }> {
    if (deferred === 0) return { changed, deferred };
    const returned = await this.#deps.redecide(new Set(await this.#matching(filter, ['claimed'])));
    return { changed: changed + returned, deferred: deferred - returned };
  }

  /** Replaces the payload of tasks that aren't running, dead letters included: edit, then redrive. */
  async edit(
    filter: TaskFilter,
    input: unknown,
  ): Promise<{ readonly changed: number; readonly deferred: number }> {
    checkJson(input, 'input', PAYLOAD_LIMITS);
    const answer = await this.#revise(filter, { set: 'payload', payload: copyJson(input) });
    return this.#redecide(filter, answer);
  }

  /** Makes dead or cancelled tasks ready again. @param options perSecond: spreads them; resetAttempts (default true) */
  async redrive(
    filter: TaskFilter,
    options: {
      readonly perSecond?: number;
      readonly resetAttempts?: boolean;
      readonly delayMs?: number;
    } = {},
  ): Promise<{ readonly changed: number }> {
    const given = checkOptions('redrive', options, ['perSecond', 'resetAttempts', 'delayMs']);
    const { perSecond, resetAttempts = true, delayMs = 0 } = given;
    checkMs(delayMs, 'delayMs');
    if (typeof resetAttempts !== 'boolean')
      throw invalid(`Expected resetAttempts to be true or false, got ${describe(resetAttempts)}`);
    if (perSecond !== undefined) checkInteger(perSecond, 'perSecond', 1);
    const ids = await this.#matching(filter, REVIVABLE);
    let changed = 0;
    let before = 0;
    for (const batch of slices(ids, this.#most)) {
      const startMs = perSecond === undefined ? delayMs : delayMs + (before / perSecond) * 1_000;
      before += batch.length;
      const spreadMs = perSecond === undefined ? 0 : (batch.length / perSecond) * 1_000;
      const revision: Revision = { set: 'redrive', delayMs: startMs, resetAttempts, spreadMs };
      changed += (await this.#revise({ ids: batch }, revision, (now) => this.#revived(batch, now))).changed;
      if (startMs + spreadMs > 0) this.#deps.due(startMs, true);
    }
    return { changed };
  }

  /** Their handles wait for another outcome from now on; before anybody hears that they are ready. */
  #revived(ids: readonly string[], now: BackendTime): Awaitable<void> {
    return andThen(this.#deps.store.get(ids), (records) => {
      for (const record of records) {
        if (record === undefined || REVIVABLE.includes(record.state)) continue;
        if (record.local instanceof LocalHandle) record.local.revive();
        if (record.body.agent !== undefined) this.#deps.stranded(record.body.agent);
        if (record.deadlineAt !== undefined)
          this.#deps.due(Math.max(0, (record.deadlineAt - now) / 1_000), false);
        this.#deps.events.emit('task:redriven', { taskId: record.id });
      }
    });
  }

  /** Forgets ended tasks now. */
  async discard(filter: TaskFilter): Promise<{ readonly changed: number }> {
    const { changed } = await this.#revise(filter, { set: 'discard' });
    return { changed };
  }

  async #matching(given: TaskFilter, states: readonly TaskState[]): Promise<readonly string[]> {
    const filter = checkFilter(given);
    const ids: string[] = [];
    const state = states.filter((one) => filter.state?.includes(one) !== false);
    if (state.length === 0) return ids;
    for (const part of this.#parts(filter)) {
      let after: Cursor | undefined;
      do {
        const page = await this.#deps.store.list(
          { ...part, state },
          { limit: PAGE, ...(after === undefined ? {} : { after }) },
        );
        ids.push(...page.items.map((record) => record.id));
        after = page.next;
      } while (after !== undefined);
    }
    return ids;
  }

  /** Filters that match the same together, none of which names more tasks than a call may. */
  #parts(filter: TaskFilter): readonly TaskFilter[] {
    const { ids } = filter;
    if (ids === undefined || ids.length <= this.#most) return [filter];
    return [...slices([...new Set(ids)], this.#most)].map((part) => ({ ...filter, ids: part }));
  }

  /** @param before what is to be done before the consequences are told */
  async #revise(
    given: TaskFilter,
    revision: Revision,
    before?: (now: BackendTime) => Awaitable<void>,
  ): Promise<{ changed: number; deferred: number }> {
    let changed = 0;
    let deferred = 0;
    for (const filter of this.#parts(checkFilter(given))) {
      const answer = await this.#revisePart(filter, revision, before);
      changed += answer.changed;
      deferred += answer.deferred;
    }
    if (changed > 0) this.#deps.wake();
    return { changed, deferred };
  }

  async #revisePart(
    filter: TaskFilter,
    revision: Revision,
    before: (now: BackendTime) => Awaitable<void> = () => undefined,
  ): Promise<{ changed: number; deferred: number }> {
    const { operations, store } = this.#deps;
    const limit = this.#most;
    let changed = 0;
    let deferred = 0;
    let after: Cursor | undefined;
    do {
      const from = after;
      const answer = await andThen(
        operations().run((op) =>
          store.revise(op, { filter, revision, limit, ...(from === undefined ? {} : { after: from }) }),
        ),
        (revised) =>
          andThen(before(revised.at), () => {
            this.#deps.consequences(revised);
            return revised;
          }),
      );
      changed += answer.changed;
      deferred += answer.deferred;
      after = answer.next;
    } while (after !== undefined);
    return { changed, deferred };
  }
}

function pageOf(given: ListPage): PageRequest {
  const { limit, after } = checkPage(given, ['after', 'limit']);
  return {
    limit: limit === undefined ? 100 : checkInteger(limit, 'limit', 1, PAGE),
    ...(after === undefined ? {} : { after }),
  };
}

function checkSettings(given: Partial<QueueSettings>): Partial<QueueSettings> {
  checkObject(given, 'the settings');
  const known = Object.keys(OPTIONS.queue) as (keyof QueueSettings)[];
  const changes = checkOptions('queue', given, known, 'the settings');
  for (const [key, value] of Object.entries(changes)) {
    if (value !== undefined) checkOption(`queue.${key}`, OPTIONS.queue[key as keyof QueueSettings], value);
  }
  if (changes.groupWeights === undefined) return changes;
  return { ...changes, groupWeights: checkWeights(changes.groupWeights) };
}

/** `undefined` takes a limit away; what can't be without a value keeps it. */
function merged(known: QueueSettings, changes: Partial<QueueSettings>): QueueSettings {
  const { paused = known.paused, ageStepMs = known.ageStepMs } = changes;
  return { ...known, ...changes, paused, ageStepMs };
}

function checkWeights(given: Readonly<Record<string, number>>): Readonly<Record<string, number>> {
  const weights = checkRecord(given, 'groupWeights');
  for (const [group, weight] of Object.entries(weights)) {
    checkId(group, 'a group');
    if (typeof weight !== 'number' || !(weight > 0 && weight <= 1e6)) {
      throw new CoordinationError(
        'INVALID_OPTION',
        `Expected the weight of group ${group} to be a number above 0, at most 1,000,000`,
      );
    }
  }
  return weights;
}
