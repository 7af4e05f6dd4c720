import { CONFLICTS, LOCK_WORDS, modeIndex, UNITS } from '../../../core/lock-modes.ts';
import type { CycleEdge, LockAnswer, LockMode, LockRequest, Owner } from '../../../core/ports/locks.ts';
import type { BackendTime, Token } from '../../../core/ports/words.ts';

/** Locks as the scripts write them. */

/** Scripts count modes from 1. */
const FROM = 1;
/** Place of the changes that concern waiters of one owner, whatever their mode. */
const OWN_CHANGES = 6;

/** See `l:r` in `lua/table.ts`. */
export interface ResourceState {
  readonly of: number;
  readonly held: number;
  readonly waiting: number;
  /** By mode; empty unless somebody waits. */
  readonly changes: readonly number[];
}

type StateText = readonly [
  of: number,
  used: number,
  held: number,
  waiting: number,
  heldBy: readonly number[],
  onlyHolder: string,
  waitingBy?: readonly number[],
  changes?: readonly number[],
];

export function resourceStateOf(text: string): ResourceState {
  const [of, , held, waiting, , , , changes = []] = JSON.parse(text) as StateText;
  return { of, held, waiting, changes };
}

/** The version of a wait in one mode as far as one resource goes: what conflicts with it, and what its owner does there. */
export function versionAt({ changes }: ResourceState, mode: number): number {
  const against = mode === UNITS ? 1 << UNITS : (CONFLICTS[mode] as number);
  return changes.reduce(
    (sum, count, i) => (i === OWN_CHANGES || (against & (1 << i)) !== 0 ? sum + count : sum),
    0,
  );
}

/** A request that waits or holds: see `l:g` in `lua/table.ts`. */
export interface StoredRequest {
  readonly id: string;
  readonly ownerId: string;
  readonly owner: Owner;
  readonly items: readonly {
    readonly resource: string;
    readonly mode: number;
    readonly units: number;
    readonly token: Token;
  }[];
  /** When it was granted, or came. */
  readonly at: BackendTime;
  /** End of its own lease, µs. */
  readonly endsAt: number;
  readonly upgradeOf: string | undefined;
  readonly isWaiting: boolean;
}

interface RequestText {
  readonly o: string;
  readonly t: 'w' | 'h' | 'c';
  readonly i: readonly (readonly [resource: string, mode: number, units: number, token?: string])[];
  readonly g?: string;
  readonly b?: string;
  readonly d?: string;
}

/** @param ends µs, or empty */
export function storedRequestOf(id: string, text: string, ends: string): StoredRequest {
  const cut = text.indexOf('\n');
  const { o, t, i, g, b, d } = JSON.parse(text.slice(0, cut)) as RequestText;
  return {
    id,
    ownerId: o,
    owner: ownerOf(o, JSON.parse(text.slice(cut + 1)) as Omit<Owner, 'id'>),
    items: i.map(([resource, mode, units, token = '0']) => ({
      resource,
      mode: mode - FROM,
      units,
      token: Number(token) as Token,
    })),
    at: Number(b ?? g ?? i[0]?.[3] ?? 0) as BackendTime,
    endsAt: ends === '' ? Number.POSITIVE_INFINITY : Number(ends),
    upgradeOf: t === 'w' ? d : undefined,
    isWaiting: t === 'w',
  };
}

/** A mode as users write it. */
export function modeOf(mode: number, units: number, of: number): LockMode {
  return mode === UNITS ? { units, of } : (LOCK_WORDS[mode] as LockMode);
}

/** The arguments of one request. */
export function requestArguments(request: LockRequest): (string | number)[] {
  const { owner, order, lease, upgradeOf } = request;
  const args = [
    request.id,
    owner.id,
    ownerText(owner),
    owner.single === true ? '1' : '',
    request.priority,
    // At most 12 days a point, so that ranks stay exact.
    Math.min(order.ageStepMs, 1_000_000_000) * 1_000,
    order.maxOvertakes === Number.POSITIVE_INFINITY ? 'inf' : order.maxOvertakes,
    request.wait ? '1' : '',
    lease === 'session' ? '' : lease.leaseMs,
    upgradeOf?.id ?? '',
    upgradeOf?.token ?? '',
    request.reentrant ? '1' : '',
    request.items.length,
  ];
  for (const { resource, mode } of request.items) {
    const { units, of } = typeof mode === 'string' ? { units: 0, of: 0 } : mode;
    args.push(resource, modeIndex(mode) + FROM, units, of);
  }
  return args;
}

function ownerText({ id, agent, task, priority, since, defeats }: Owner): string {
  return JSON.stringify({ id, agent, task, priority, since, defeats });
}

function ownerOf(id: string, facts: Omit<Owner, 'id'>): Owner {
  const { agent, task, priority, since, defeats } = facts;
  return { id, agent, task, priority, since, defeats };
}

export type AnswerText =
  | readonly [
      'g',
      id: string,
      token: Token,
      tokens: readonly Token[],
      endsInUs: number | null,
      revoked?: string,
    ]
  | readonly ['w', id: string, version: number, ahead: number, suspect: 0 | 1, holders: readonly Owner[]]
  | readonly ['r', why: 'busy' | 'upgrade-conflict' | 'capacity']
  | readonly ['r', why: 'reentrant', resource: string, id: string, token: Token]
  | readonly ['a', order: { readonly cycle: readonly CycleEdge[] }]
  | readonly ['l'];

export function answerOf(text: AnswerText): LockAnswer {
  switch (text[0]) {
    case 'g': {
      const [, id, token, tokens, endsInUs, revoked] = text;
      const expiresInMs = endsInUs === null ? Number.POSITIVE_INFINITY : endsInUs / 1_000;
      const grant = { status: 'granted' as const, id, token, tokens, expiresInMs };
      return revoked === undefined ? grant : { ...grant, revoked };
    }
    case 'w': {
      const [, id, version, ahead, suspect, holders] = text;
      return {
        status: 'waiting',
        wait: { id, version },
        ahead,
        suspect: suspect === 1,
        pushed: false,
        holders: holders.map(({ id: owner, agent, task }) => ({ owner, agent, task })),
      };
    }
    case 'r':
      if (text[1] !== 'reentrant') return { status: 'refused', why: text[1] };
      return {
        status: 'refused',
        why: 'reentrant',
        resource: text[2],
        held: { id: text[3], token: text[4] },
      };
    case 'a':
      return { status: 'aborted', cycle: text[1].cycle };
    default:
      return { status: 'lost' };
  }
}
