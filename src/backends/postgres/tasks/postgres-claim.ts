import type { Claim, ClaimRef, TaskBody } from '../../../core/ports/tasks.ts';
import type { BackendTime, Encoded, SessionNumber, Token } from '../../../core/ports/words.ts';
import type { Lane } from './lane-book.ts';

/** What few claims have. */
interface ClaimExtras {
  /** The payload is `undefined`, not null. */
  readonly u: 0 | 1;
  readonly h?: Record<string, unknown>;
  readonly s?: Encoded;
  readonly k?: string;
  readonly p?: string;
  /** Last error. */
  readonly e?: Encoded;
  readonly w?: number;
  /** Deadline. */
  readonly d?: number;
  /** Crashes. */
  readonly c?: number;
  /** Moves. */
  readonly m?: number;
  /** Most crashes. */
  readonly x?: number;
  /** Started. */
  readonly t?: 1;
}

/** A claim as the server spells it. */
export type ClaimRow = readonly [
  seq: number,
  lane: number,
  attempt: number,
  enqueuedAt: BackendTime,
  readyAt: BackendTime,
  priority: number,
  id: string,
  payload: Encoded,
  extras?: ClaimExtras,
];

export interface ClaimFacts {
  readonly session: SessionNumber;
  readonly token: Token;
  readonly lane: Lane;
  /** Started by the claim; a takeover's claims say it themselves. */
  readonly started: boolean;
  /** By a takeover, which says when the task has crashed too often. */
  readonly taken: boolean;
}

const NO_EXTRAS: ClaimExtras = { u: 0 };

/** A claim: plain data, and the private number of its row, by which it is settled without looking its id up. */
export class PostgresClaim implements Claim {
  readonly session: SessionNumber;
  readonly task: string;
  readonly token: Token;
  readonly body: TaskBody;
  readonly attempt: number;
  readonly crashes: number;
  readonly moves: number;
  readonly enqueuedAt: BackendTime;
  readonly readyAt: BackendTime;
  readonly started: boolean;
  readonly lastError?: Encoded;
  readonly deadlineAt?: BackendTime;
  readonly poison?: true;
  readonly #seq: number;

  constructor(row: ClaimRow, { session, token, lane, started, taken }: ClaimFacts) {
    const [seq, , attempt, enqueuedAt, readyAt, priority, id, payload, extras = NO_EXTRAS] = row;
    this.session = session;
    this.task = id;
    this.token = token;
    this.body = bodyOf(lane, id, priority, payload, extras);
    this.attempt = attempt;
    this.crashes = extras.c ?? 0;
    this.moves = extras.m ?? 0;
    this.enqueuedAt = enqueuedAt;
    this.readyAt = readyAt;
    this.started = taken ? extras.t === 1 : started;
    if (extras.e !== undefined) this.lastError = extras.e;
    if (extras.d !== undefined) this.deadlineAt = extras.d as BackendTime;
    if (taken && (extras.c ?? 0) > (extras.x ?? Number.POSITIVE_INFINITY)) this.poison = true;
    this.#seq = seq;
  }

  /** The number of the row behind a claim that this store made; 0 for a plain reference. */
  static seqOf(ref: ClaimRef): number {
    return #seq in ref ? ref.#seq : 0;
  }
}

function bodyOf(lane: Lane, id: string, priority: number, payload: Encoded, extras: ClaimExtras): TaskBody {
  const { queue, type, capabilities, placement, agent, group } = lane;
  const { u, h, s, k, p, w = 1 } = extras;
  return {
    id,
    queue,
    type,
    payload: u === 1 ? undefined : payload,
    priority,
    capabilities,
    weight: w,
    ...(placement === undefined ? {} : { placement }),
    ...(k === undefined ? {} : { key: k }),
    ...(h === undefined ? {} : { headers: h }),
    ...(group === undefined ? {} : { group }),
    ...(agent === undefined ? {} : { agent }),
    ...(p === undefined ? {} : { parent: p }),
    ...(s === undefined ? {} : { settings: s }),
  };
}
