import type { ClaimRef, Settlement, SettleResult, TaskState } from '../../../core/ports/tasks.ts';
import type { Operation, Token } from '../../../core/ports/words.ts';
import { type EffectsAnswer, stateOfCode } from './answers.ts';
import { PostgresClaim } from './postgres-claim.ts';
import { numberList, TextLists, textOf } from './text-lists.ts';

export const SETTLE =
  'select agentmesh.task_settle_v1($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16) as answer';
export const START = 'select agentmesh.task_start_v1($1,$2,$3,$4,$5,$6,$7) as answer';

export type SettleOwn = {
  /** One a settlement: the number of its state, or s stale, g gone. */
  readonly codes: string;
  /** State and token of those that are stale. */
  readonly extras: readonly (readonly [TaskState, Token])[] | null;
};

const KINDS = { complete: 'c', retry: 'r', bury: 'b', cancel: 'x', release: 'l' } as const;
const MAX_MS = 1e12;

/** What the server is told of a batch. */
export function settleValues(
  { session, sequence }: Operation,
  settlements: readonly Settlement[],
): readonly unknown[] {
  const claims = settlements.map(({ claim }) => claim);
  const ids = claims.map(({ task }) => task);
  const isComplete = settlements.every(({ as }) => as === 'complete');
  const reasons = isComplete ? [] : settlements.map(reasonOf);
  const signatures = isComplete
    ? []
    : settlements.map((one) => (one.as === 'bury' ? one.signature : undefined));
  const agents = isComplete ? [] : settlements.map(agentOf);
  const lists = new TextLists([...ids, ...reasons, ...signatures, ...agents]);
  return [
    session,
    sequence,
    settlements.length,
    lists.separator,
    lists.null,
    `{${claims.map(PostgresClaim.seqOf).join(',')}}`,
    lists.all(ids),
    tokenList(claims),
    numberList(claims.map((claim) => claim.session)),
    isComplete ? 'c' : settlements.map(({ as }) => KINDS[as]).join(''),
    lists.some(settlements.map(dataOf)),
    isComplete ? null : `{${settlements.map(delayOf).join(',')}}`,
    lists.some(reasons),
    lists.some(signatures),
    isComplete ? null : `{${settlements.map((one) => one.as === 'release' && one.refundAttempt).join(',')}}`,
    lists.some(agents),
  ];
}

export function startValues(
  { session, sequence }: Operation,
  claims: readonly ClaimRef[],
): readonly unknown[] {
  const ids = claims.map(({ task }) => task);
  const lists = new TextLists(ids);
  return [
    session,
    sequence,
    lists.separator,
    `{${claims.map(PostgresClaim.seqOf).join(',')}}`,
    lists.all(ids),
    `{${claims.map(({ token }) => token).join(',')}}`,
    `{${claims.map((claim) => claim.session).join(',')}}`,
  ];
}

export function settleResults({ own: { codes, extras } }: EffectsAnswer<SettleOwn>): readonly SettleResult[] {
  const stale = extras ?? [];
  let at = 0;
  return [...codes].map((code): SettleResult => {
    const settled = stateOfCode(code);
    if (settled !== undefined) return { status: 'settled', state: settled };
    if (code === 'g') return { status: 'gone' };
    const [state, token] = stale[at++] as readonly [TaskState, Token];
    return { status: 'stale', state, token };
  });
}

/** Queues in which a batch has put something back that is ready now. Plain references don't say theirs: whoever waits there polls. */
export function refilledQueues(settlements: readonly Settlement[], codes: string): readonly string[] {
  const queues: string[] = [];
  for (const [i, { claim }] of settlements.entries()) {
    if (codes[i] === '2' && claim instanceof PostgresClaim) queues.push(claim.body.queue);
  }
  return queues;
}

/** Tokens of one claim follow each other: then the first is enough. */
function tokenList(claims: readonly ClaimRef[]): string {
  const first = claims[0]?.token as number;
  const isRow = claims.every(({ token }, i) => token === first + i);
  return isRow ? `{${first}}` : `{${claims.map(({ token }) => token).join(',')}}`;
}

function dataOf(settlement: Settlement): string | undefined {
  if (settlement.as === 'complete') return textOf(settlement.result);
  return settlement.as === 'retry' || settlement.as === 'bury' ? textOf(settlement.error) : undefined;
}

function delayOf(settlement: Settlement): number {
  if (settlement.as !== 'retry' && settlement.as !== 'release') return 0;
  return Math.min(Math.max(settlement.delayMs, 0), MAX_MS);
}

function reasonOf(settlement: Settlement): string | undefined {
  return settlement.as === 'complete' || settlement.as === 'retry' ? undefined : settlement.reason;
}

/** For whom a task is that goes back: '=' and an agent, '-' anybody, or whom it was for. */
function agentOf(settlement: Settlement): string | undefined {
  if (settlement.as !== 'release' || settlement.toAgent === undefined) return undefined;
  return settlement.toAgent === null ? '-' : `=${settlement.toAgent}`;
}
