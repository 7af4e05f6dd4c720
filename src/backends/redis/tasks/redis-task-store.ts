import type {
  ClaimAnswer,
  ClaimRef,
  ClaimRequest,
  Consequences,
  EnqueueAnswer,
  ListRequest,
  NewTask,
  Offer,
  QueueCounts,
  QueueSettings,
  Revision,
  SettleAnswer,
  Settlement,
  TaskFilter,
  TaskRecord,
  TaskState,
  TaskStore,
  Transition,
} from '../../../core/ports/tasks.ts';
import type { Cursor, Operation, Page, PageRequest, Stamped } from '../../../core/ports/words.ts';
import type { RedisStore } from '../connection.ts';
import { defineScript } from '../scripts.ts';
import { answerOf, claimAnswer, enqueueResult, itemsOf, settleResult, timeOf } from './answers.ts';
import { CANCEL } from './lua/cancel.ts';
import { CLAIM, MOST_CLAIMS, WANTED } from './lua/claim.ts';
import { CONFIGURE } from './lua/configure.ts';
import { ENQUEUE, ENQUEUE_PLAIN } from './lua/enqueue.ts';
import { REVISE } from './lua/revise.ts';
import { COMPLETE, SETTLE, START } from './lua/settle.ts';
import { SWEEP } from './lua/sweep.ts';
import { TAKEOVER } from './lua/takeover.ts';
import { enqueueArguments, plainArguments } from './new-tasks.ts';
import {
  cancelArguments,
  claimArguments,
  completeArguments,
  filterArguments,
  MOST_NAMED,
  revisionArguments,
  settingsArguments,
  settleArguments,
  startArguments,
  takeoverArguments,
  type TakeoverRequest,
  wantedArguments,
  windowOf,
} from './requests.ts';
import { stateOf } from './states.ts';
import { TaskReader } from './task-reader.ts';
import { fromStored, toStored } from './text.ts';

const SCRIPTS = {
  plain: defineScript('task-enqueue-plain', ENQUEUE_PLAIN),
  enqueue: defineScript('task-enqueue', ENQUEUE),
  claim: defineScript('task-claim', CLAIM),
  wanted: defineScript('task-wanted', WANTED),
  start: defineScript('task-start', START),
  complete: defineScript('task-complete', COMPLETE),
  settle: defineScript('task-settle', SETTLE),
  takeover: defineScript('task-takeover', TAKEOVER),
  cancel: defineScript('task-cancel', CANCEL),
  revise: defineScript('task-revise', REVISE),
  configure: defineScript('task-configure', CONFIGURE),
  sweep: defineScript('task-sweep', SWEEP),
};

const MOST_TAKEN_OVER = 500;

export interface RedisTaskStoreOptions {
  /**
   * Ended tasks kept at most, over all queues; the oldest are pruned first. Dead letters, tasks with an idempotency key and tasks that state their
   * own `keepMs` stay for their time and don't count. @default 1,000,000
   */
  readonly keepEnded?: number;
  /** Newest transitions kept for `history`, beside four for each stored task. @default 1,000,000 */
  readonly history?: number;
}

/** Tasks in Redis: one script a call, which is the transaction. `lua/` says where what lies. */
export class RedisTaskStore implements TaskStore {
  readonly #store: RedisStore;
  readonly #reader: TaskReader;
  readonly #keepEnded: number;
  readonly #history: number;

  constructor(store: RedisStore, options: RedisTaskStoreOptions = {}) {
    this.#store = store;
    this.#reader = new TaskReader(store);
    this.#keepEnded = options.keepEnded ?? 1_000_000;
    this.#history = options.history ?? 1_000_000;
  }

  async enqueue(op: Operation, tasks: readonly NewTask[]): Promise<EnqueueAnswer> {
    const plain = plainArguments(op, tasks);
    let reply = plain === undefined ? '!' : await this.#store.run(SCRIPTS.plain, plain, 'write');
    if (reply === '!') reply = await this.#store.run(SCRIPTS.enqueue, enqueueArguments(op, tasks), 'write');
    const { consequences, results } = answerOf(reply);
    return { ...consequences, results: results.map(enqueueResult) };
  }

  async claim(op: Operation, request: ClaimRequest): Promise<ClaimAnswer> {
    const { offers, agents } = request;
    const isLarge = offers.length > MOST_NAMED || agents.length > MOST_NAMED;
    const wanted = isLarge ? await this.#wanted(request) : request;
    const some = {
      ...request,
      offers: windowOf(wanted.offers, MOST_NAMED, op),
      agents: windowOf(wanted.agents, MOST_NAMED, op),
    };
    const reply = await this.#store.run(SCRIPTS.claim, claimArguments(op, some, MOST_CLAIMS), 'write');
    const answer = claimAnswer(reply, op.session, false);
    // There is something for those that were left out; but where queues don't give anything, asking again wouldn't help.
    const isCut = some.offers.length < wanted.offers.length || some.agents.length < wanted.agents.length;
    return isCut && answer.claims.length > 0 ? { ...answer, more: true } : answer;
  }

  /** The offers and agents that there is something for. */
  async #wanted(request: ClaimRequest): Promise<Pick<ClaimRequest, 'offers' | 'agents'>> {
    const offers: Offer[] = [];
    const agents: string[] = [];
    const most = Math.max(request.offers.length, request.agents.length);
    for (let from = 0; from < most; from += MOST_NAMED) {
      const someOffers = request.offers.slice(from, from + MOST_NAMED);
      const someAgents = request.agents.slice(from, from + MOST_NAMED);
      const args = wantedArguments(someOffers, someAgents);
      const reply = (await this.#store.run(SCRIPTS.wanted, args, 'read')) as readonly [number[], number[]];
      offers.push(...reply[0].map((place) => someOffers[place - 1] as Offer));
      agents.push(...reply[1].map((place) => someAgents[place - 1] as string));
    }
    return { offers, agents };
  }

  async start(
    op: Operation,
    claims: readonly ClaimRef[],
  ): Promise<Stamped & { readonly started: readonly boolean[] }> {
    const reply = (await this.#store.run(SCRIPTS.start, startArguments(op, claims), 'write')) as string;
    const [at, bits = ''] = reply.split(' ');
    return { at: timeOf(at), started: [...bits].map((bit) => bit === '1') };
  }

  async settle(op: Operation, settlements: readonly Settlement[]): Promise<SettleAnswer> {
    const complete = completeArguments(op, settlements);
    const reply = await (complete === undefined
      ? this.#store.run(SCRIPTS.settle, settleArguments(op, settlements), 'write')
      : this.#store.run(SCRIPTS.complete, complete, 'write'));
    const { consequences, results } = answerOf(reply);
    return { ...consequences, results: results.map(settleResult) };
  }

  async takeover(
    op: Operation,
    request: TakeoverRequest,
  ): Promise<Stamped & { readonly claims: ClaimAnswer['claims'] }> {
    const args = takeoverArguments(op, request, MOST_TAKEN_OVER);
    const { at, claims } = claimAnswer(
      await this.#store.run(SCRIPTS.takeover, args, 'write'),
      op.session,
      true,
    );
    return { at, claims };
  }

  async cancel(
    op: Operation,
    requests: Parameters<TaskStore['cancel']>[1],
  ): Promise<Awaited<ReturnType<TaskStore['cancel']>>> {
    const reply = await this.#store.run(SCRIPTS.cancel, cancelArguments(op, requests), 'write');
    const { consequences, results, rest } = answerOf(reply);
    const requested = itemsOf(rest[0] ?? '').map((item) => {
      const [task = '', reason = ''] = item.split('\u001f');
      return { task: fromStored(task), reason: fromStored(reason) };
    });
    return { ...consequences, results: results.map(cancelResult), requested };
  }

  async revise(
    op: Operation,
    request: {
      readonly filter: TaskFilter;
      readonly revision: Revision;
      readonly limit: number;
      readonly after?: Cursor;
    },
  ): Promise<
    Consequences & {
      readonly changed: number;
      readonly deferred: number;
      readonly next: Cursor | undefined;
    }
  > {
    const { filter, revision, limit, after = '' } = request;
    const head = [op.session, op.sequence, limit, after, ...revisionArguments(revision)];
    const reply = await this.#store.run(SCRIPTS.revise, [...head, ...filterArguments(filter)], 'write');
    const { consequences, rest } = answerOf(reply);
    const [changed, deferred, next = ''] = (rest[0] ?? '').split(' ');
    return {
      ...consequences,
      changed: Number(changed),
      deferred: Number(deferred),
      next: next === '' ? undefined : (next as Cursor),
    };
  }

  async configure(
    op: Operation,
    queue: string,
    revision: number | undefined,
    settings: QueueSettings,
  ): Promise<Stamped & { readonly status: 'set' | 'changed-meanwhile'; readonly revision: number }> {
    const head = [op.session, op.sequence, toStored(queue), revision ?? ''];
    const reply = await this.#store.run(
      SCRIPTS.configure,
      [...head, ...settingsArguments(settings)],
      'write',
    );
    const [at, isSet, now] = (reply as string).split(' ');
    return {
      at: timeOf(at),
      status: isSet === '1' ? 'set' : 'changed-meanwhile',
      revision: Number(now),
    };
  }

  async sweep(op: Operation, limit: number): Promise<Awaited<ReturnType<TaskStore['sweep']>>> {
    const args = [op.session, op.sequence, limit, this.#keepEnded, this.#history];
    const { consequences, rest } = answerOf(await this.#store.run(SCRIPTS.sweep, args, 'write'));
    const [pruned, deadSessions, next] = (rest[0] ?? '').split(' ');
    return {
      ...consequences,
      pruned: Number(pruned),
      deadSessions: Number(deadSessions),
      nextInMs: next === 'inf' ? Number.POSITIVE_INFINITY : Number(next),
    };
  }

  get(ids: readonly string[]): Promise<readonly (TaskRecord | undefined)[]> {
    return this.#reader.get(ids);
  }

  list(filter: TaskFilter, page: ListRequest): Promise<Page<TaskRecord>> {
    return this.#reader.list(filter, page);
  }

  history(
    filter: { readonly task?: string; readonly queue?: string },
    page: PageRequest,
  ): Promise<Page<Transition>> {
    return this.#reader.history(filter, page);
  }

  counts(queues?: readonly string[]): Promise<Stamped & { readonly queues: readonly QueueCounts[] }> {
    return this.#reader.counts(queues);
  }
}

const CANCELLED = { c: 'cancelled', r: 'requested', e: 'ended', u: 'unknown' } as const;

function cancelResult(text: string): {
  readonly status: 'cancelled' | 'requested' | 'ended' | 'unknown';
  readonly state?: TaskState;
  readonly affected: number;
} {
  const status = CANCELLED[text.charAt(0) as keyof typeof CANCELLED];
  if (status === 'unknown') return { status, affected: 0 };
  return { status, state: stateOf(text.charAt(1)), affected: Number(text.slice(2)) };
}
