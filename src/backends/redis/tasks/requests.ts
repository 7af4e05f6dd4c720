import type {
  ClaimRef,
  ClaimRequest,
  QueueSettings,
  Revision,
  Settlement,
  TakeoverSource,
  TaskFilter,
} from '../../../core/ports/tasks.ts';
import type { Operation } from '../../../core/ports/words.ts';
import { digestOf } from './digest.ts';
import { needOf, prioOf } from './new-tasks.ts';
import { letterOf } from './states.ts';
import { toJson, toStored } from './text.ts';

type Argument = string | number;
type Room = Pick<ClaimRequest, 'queues' | 'offers' | 'agents'>;

const ITEM = '\u001e';
/** Beyond 23 days a priority point the rank would lose its µs; by then order is strict anyway. */
const MAX_STEP_US = 2e12;
const MIN_SHARE = 1e-9;
/** Offers, and agents, that one script looks at. */
export const MOST_NAMED = 250;

export interface TakeoverRequest {
  readonly from: TakeoverSource;
  readonly match: Room | 'any';
  readonly limit: number;
  readonly maxMoves: number;
  readonly steal: string;
}

/** @param most claims of one call */
export function claimArguments(op: Operation, request: ClaimRequest, most: number): Argument[] {
  const limit = Math.min(request.limit, most);
  const args: Argument[] = [op.session, op.sequence, limit, request.start, Math.min(request.assigned, most)];
  pushOffers(args, request);
  const without = request.without ?? [];
  args.push(without.length);
  for (const { type, capabilities, placement } of without) args.push(needOf(type, capabilities, placement));
  pushNames(args, request.agents);
  return args;
}

/** The arguments that ask which of these there is something for. */
export function wantedArguments(offers: Room['offers'], agents: readonly string[]): Argument[] {
  const args: Argument[] = [];
  pushOnly(args, offers);
  pushNames(args, agents);
  return args;
}

/** So many of a list, others with each operation: nobody is left out for ever. */
export function windowOf<T>(list: readonly T[], most: number, { sequence }: Operation): readonly T[] {
  if (list.length <= most) return list;
  const first = (Math.imul(sequence, 0x9e3779b1) >>> 0) % list.length;
  return [...list.slice(first, first + most), ...list.slice(0, Math.max(0, first + most - list.length))];
}

export function takeoverArguments(op: Operation, request: TakeoverRequest, most: number): Argument[] {
  const { from, match, limit, maxMoves, steal } = request;
  const source = from === 'dead' ? 'dead' : from.idle;
  const moves = Number.isFinite(maxMoves) ? maxMoves : 1e9;
  const any = match === 'any' ? 1 : 0;
  const args: Argument[] = [
    op.session,
    op.sequence,
    source,
    Math.min(limit, most),
    moves,
    toStored(steal),
    any,
  ];
  const room: Room =
    match === 'any'
      ? { offers: [], agents: [] }
      : {
          ...match,
          offers: windowOf(match.offers, MOST_NAMED, op),
          agents: windowOf(match.agents, MOST_NAMED, op),
        };
  pushOffers(args, room);
  pushNames(args, room.agents);
  return args;
}

function pushOffers(args: Argument[], { offers, queues }: Room): void {
  pushOnly(args, offers);
  args.push(queues === undefined ? -1 : queues.length);
  for (const { queue, limit } of queues ?? []) args.push(toStored(queue), Math.min(limit, 1e9));
}

function pushOnly(args: Argument[], offers: Room['offers']): void {
  args.push(offers.length);
  for (const { slots, capabilities, types } of offers) {
    const names = types === undefined ? '*' : types.map(toStored).join(ITEM);
    args.push(Math.max(0, slots), capabilities.map(toStored).join(ITEM), names);
  }
}

function pushNames(args: Argument[], names: readonly string[]): void {
  args.push(names.length);
  for (const name of names) args.push(toStored(name));
}

export function startArguments(op: Operation, claims: readonly ClaimRef[]): Argument[] {
  const args: Argument[] = [op.session, op.sequence, claims.length];
  for (const { session, task, token } of claims) args.push(session, toStored(task), token);
  return args;
}

/** The arguments for completions of one session's claims; `undefined` where something else is among them. */
export function completeArguments(op: Operation, settlements: readonly Settlement[]): Argument[] | undefined {
  const [first] = settlements;
  if (first === undefined) return undefined;
  const { session, token } = first.claim;
  let queue = queueOf(first);
  let items = '';
  let results = '';
  let hasResults = false;
  let next: number = token;
  const seen = new Set<string>();
  for (const settlement of settlements) {
    const { claim } = settlement;
    if (settlement.as !== 'complete' || claim.session !== session) return undefined;
    if (queue !== '' && queueOf(settlement) !== queue) queue = '';
    const isFirst = seen.size === 0;
    const id = toStored(claim.task);
    items += `${isFirst ? '' : ITEM}${id}${claim.token === next ? '' : `\u001f${claim.token}`}`;
    next = claim.token + 1;
    const result = toJson(settlement.result);
    results += isFirst ? result : ITEM + result;
    hasResults ||= result !== '';
    seen.add(id);
  }
  // One that comes twice has its second settlement judged after the first.
  if (seen.size < settlements.length) return undefined;
  const head = [op.session, op.sequence, session, settlements.length, queue, token];
  return [...head, items, hasResults ? results : ''];
}

/** The queue of a claim that came from a store; nothing for a plain reference. */
function queueOf({ claim }: Settlement): string {
  const { body } = claim as { readonly body?: { readonly queue: string } };
  return body === undefined ? '' : toStored(body.queue);
}

export function settleArguments(op: Operation, settlements: readonly Settlement[]): Argument[] {
  const args: Argument[] = [op.session, op.sequence, settlements.length];
  for (const settlement of settlements) {
    const { session, task, token } = settlement.claim;
    args.push(toStored(task), session, token, ...endArguments(settlement));
  }
  return args;
}

function endArguments(settlement: Settlement): readonly Argument[] {
  switch (settlement.as) {
    case 'complete':
      return ['c', toJson(settlement.result), '', '', 0, ''];
    case 'retry':
      return ['r', toJson(settlement.error), '', '', toUs(settlement.delayMs), ''];
    case 'bury':
      return [
        'b',
        toJson(settlement.error),
        toStored(settlement.reason),
        toStored(settlement.signature),
        0,
        '',
      ];
    case 'cancel':
      return ['x', '', toStored(settlement.reason), '', 0, ''];
    case 'release': {
      const { toAgent, refundAttempt, reason, delayMs } = settlement;
      const agent = toAgent === undefined ? '' : toAgent === null ? '-' : `=${toStored(toAgent)}`;
      return ['l', '', toStored(reason), '', toUs(delayMs), `${refundAttempt ? '1' : '0'}${agent}`];
    }
  }
}

export function cancelArguments(
  op: Operation,
  requests: readonly {
    readonly task: string;
    readonly reason: string;
    readonly tree: boolean;
    readonly revoke: boolean;
  }[],
): Argument[] {
  const args: Argument[] = [op.session, op.sequence, requests.length];
  for (const { task, reason, tree, revoke } of requests)
    args.push(toStored(task), toStored(reason), tree ? 1 : 0, revoke ? 1 : 0);
  return args;
}

/** What to change, two values, and the time to spread over, µs. */
export function revisionArguments(revision: Revision): readonly Argument[] {
  switch (revision.set) {
    case 'priority':
      return ['priority', prioOf(revision.priority), '', 0];
    case 'age':
      return ['age', Math.round(revision.ageMs * 1_000), '', 0];
    case 'delay':
      return ['delay', toUs(revision.delayMs), '', 0];
    case 'payload':
      return ['payload', toJson(revision.payload), digestOf(revision.payload), 0];
    case 'agent':
      return ['agent', revision.agent === null ? '' : toStored(revision.agent), '', 0];
    case 'redrive': {
      const { delayMs, resetAttempts, spreadMs } = revision;
      return ['redrive', toUs(delayMs), resetAttempts ? 1 : 0, toUs(spreadMs)];
    }
    case 'discard':
      return ['discard', '', '', 0];
  }
}

/** The number of conditions, then name and value of each. */
export function filterArguments(filter: TaskFilter): readonly Argument[] {
  const { ids, state, queue, type, agent, group, key, parent, errorSignature, errorText, olderThanMs } =
    filter;
  const args: Argument[] = [];
  const add = (name: string, value: string | undefined): void => {
    if (value !== undefined) args.push(name, value);
  };
  add('ids', ids?.map(toStored).join(ITEM));
  if (state !== undefined && state.length > 0) add('states', [...new Set(state)].map(letterOf).join(''));
  add('queue', queue === undefined ? undefined : toStored(queue));
  add('type', type === undefined ? undefined : toStored(type));
  add('agent', agent === undefined ? undefined : toStored(agent));
  add('group', group === undefined ? undefined : toStored(group));
  add('key', key === undefined ? undefined : toStored(key));
  add('parent', parent === undefined ? undefined : toStored(parent));
  add('sign', errorSignature === undefined ? undefined : toStored(errorSignature));
  if (errorText !== undefined) {
    add('text', errorText);
    // What is kept is JSON, where a quotation mark has a backslash before it.
    add('escaped', JSON.stringify(errorText).slice(1, -1));
  }
  if (olderThanMs !== undefined) add('older', String(olderThanMs * 1_000));
  return [args.length / 2, ...args];
}

export function settingsArguments(settings: QueueSettings): readonly Argument[] {
  const { paused, maxRunning, maxLength, maxRunningPerGroup, groupWeights = {}, ageStepMs } = settings;
  const shares = Object.entries(groupWeights);
  const args: Argument[] = [JSON.stringify(settings), paused ? 1 : ''];
  args.push(bound(maxRunning), bound(maxLength), bound(maxRunningPerGroup), shares.length > 0 ? 1 : '');
  args.push(Math.round(Math.min(ageStepMs * 1_000, MAX_STEP_US)), shares.length);
  for (const [group, share] of shares) args.push(toStored(group), Math.max(share, MIN_SHARE));
  return args;
}

function bound(n: number | undefined): Argument {
  return n === undefined || !Number.isFinite(n) ? '' : n;
}

function toUs(ms: number): number {
  return Math.ceil(ms * 1_000);
}
