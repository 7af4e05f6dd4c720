import type { Claim, ClaimAnswer, ClaimRequest } from '../../../core/ports/tasks.ts';
import type { BackendTime, Operation, SessionNumber, Stamped, Token } from '../../../core/ports/words.ts';
import type { Database } from '../database.ts';
import { parseAnswer } from './answers.ts';
import { type ClaimPlan, ClaimPlanner, type LaneRequest, mergedOffers } from './claim-plan.ts';
import type { Lane, LaneBook } from './lane-book.ts';
import { type ClaimRow, PostgresClaim } from './postgres-claim.ts';

const CLAIM =
  'select agentmesh.task_claim_v1($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16) as answer';
const TAKEOVER =
  'select agentmesh.task_takeover_v1($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15) as answer';

/** Below every rank. */
const LOWEST = '-9000000000000000000';
/** A look that took longer found many rows that are dead but not yet gone: somebody holds an old snapshot. µs. */
const SLOW_LOOK_US = 5_000;
const LEAST_REST_US = 250_000;
const REST = 20;
/** Tasks of one claim by offers, and as many for agents: an answer mustn't grow without bounds. */
const MOST = 1_000;

interface Claimed {
  readonly fresh?: true;
  readonly at: BackendTime;
  readonly more?: boolean;
  /** µs that the look for tasks took. */
  readonly cost?: number;
  /** Of the last task taken from each lane. */
  readonly ranks?: Readonly<Record<string, number>>;
  readonly token?: number;
  readonly started?: number;
  readonly claims?: readonly ClaimRow[];
}

export interface TakeoverRequest {
  readonly from: 'dead' | { readonly idle: SessionNumber };
  readonly match: LaneRequest | 'any';
  readonly limit: number;
  readonly maxMoves: number;
  readonly steal: string;
}

/** A rank below which nothing was left in a lane, and until when to believe that, by the server's clock. */
interface Mark {
  readonly rank: number;
  readonly until: number;
}

/** Claims of this process: which lanes to ask for, and from which rank on. */
export class Claiming {
  readonly #db: Database;
  readonly #lanes: LaneBook;
  readonly #planner: ClaimPlanner;
  readonly #marks = new Map<number, Mark>();
  #turn = 0;
  #newest = 0;
  #at = 0;

  constructor(db: Database, lanes: LaneBook) {
    this.#db = db;
    this.#lanes = lanes;
    this.#planner = new ClaimPlanner(lanes);
  }

  async claim(op: Operation, request: ClaimRequest): Promise<ClaimAnswer> {
    const { limit, start, assigned } = request;
    const offers = mergedOffers(request.offers.filter(({ slots }) => slots > 0));
    const slots = `{${offers.map((offer) => Math.min(offer.slots, MOST)).join(',')}}`;
    this.#advance(op);
    for (;;) {
      if (this.#lanes.isOutdated) await this.#lanes.refresh();
      const plan = this.#planner.plan(request, offers);
      const answer = parseAnswer(
        await this.#db.write(CLAIM, [
          op.session,
          op.sequence,
          this.#lanes.uptime,
          this.#lanes.horizon,
          this.#lanes.young,
          plan.lanesText,
          plan.queuesText,
          plan.offersText,
          this.#marksOf(plan),
          slots,
          plan.quotasText,
          this.#turn,
          Math.min(limit, MOST),
          Math.min(start, MOST),
          plan.ownText,
          Math.min(assigned, MOST),
        ]),
      ) as Claimed;
      if (answer.fresh === true) {
        await this.#lanes.refresh();
        continue;
      }
      this.#mark(plan, answer);
      return {
        at: answer.at,
        claims: await this.#claimsOf(answer, op.session, false),
        more: answer.more === true,
      };
    }
  }

  async takeover(
    op: Operation,
    { from, match, limit, maxMoves, steal }: TakeoverRequest,
  ): Promise<Stamped & { readonly claims: readonly Claim[] }> {
    for (;;) {
      const offers = match === 'any' ? [] : mergedOffers(match.offers.filter(({ slots }) => slots > 0));
      const plan = match === 'any' ? undefined : this.#planner.plan(match, offers);
      const answer = parseAnswer(
        await this.#db.write(TAKEOVER, [
          op.session,
          op.sequence,
          this.#lanes.uptime,
          this.#lanes.horizon,
          this.#lanes.young,
          from === 'dead' ? null : from.idle,
          plan?.lanesText ?? null,
          plan?.offersText ?? null,
          `{${offers.map((offer) => Math.min(offer.slots, 1e6)).join(',')}}`,
          plan?.quotaQueuesText ?? null,
          plan?.quotaLimitsText ?? null,
          plan?.ownText ?? null,
          Math.min(limit, MOST),
          Math.min(maxMoves, 1e6),
          steal,
        ]),
      ) as Claimed;
      if (answer.fresh === true) {
        await this.#lanes.refresh();
        continue;
      }
      return { at: answer.at, claims: await this.#claimsOf(answer, op.session, true) };
    }
  }

  /** Something of these queues became ready, maybe below a mark. */
  readied(queues: readonly string[]): void {
    if (this.#marks.size === 0) return;
    for (const lane of this.#marks.keys()) {
      const { queue } = this.#lanes.get(lane) ?? {};
      if (queue === undefined || queues.includes(queue)) this.#marks.delete(lane);
    }
  }

  /** Anything may have become ready anywhere. */
  forget(): void {
    this.#marks.clear();
  }

  /** Queues are visited in turns; a call that is repeated is none of its own. */
  #advance({ sequence }: Operation): void {
    if (sequence !== this.#newest) this.#turn = (this.#turn + 1) % 1_000_000;
    this.#newest = sequence;
  }

  #marksOf({ lanes }: ClaimPlan): string {
    if (this.#marks.size === 0) return `{${lanes.map(() => LOWEST).join(',')}}`;
    const marks = lanes.map((lane) => {
      const mark = this.#marks.get(lane);
      if (mark === undefined) return LOWEST;
      if (mark.until > this.#at) return Number.isNaN(mark.rank) ? LOWEST : mark.rank;
      this.#marks.delete(lane);
      return LOWEST;
    });
    return `{${marks.join(',')}}`;
  }

  /**
   * After a slow look the lanes are searched from where it ended, for a while: what comes is most often younger, and what isn't waits that
   * long at most. While looks are quick nothing of the kind is done.
   */
  #mark({ lanes }: ClaimPlan, { at, cost = 0, ranks = {} }: Claimed): void {
    this.#at = at;
    if (cost > SLOW_LOOK_US) {
      const until = at + Math.max(LEAST_REST_US, REST * cost);
      for (const lane of lanes)
        if (!this.#marks.has(lane)) this.#marks.set(lane, { rank: Number.NaN, until });
    }
    if (this.#marks.size === 0) return;
    for (const [lane, rank] of Object.entries(ranks)) {
      const mark = this.#marks.get(Number(lane));
      if (mark !== undefined) this.#marks.set(Number(lane), { ...mark, rank });
    }
  }

  async #claimsOf(
    { claims = [], token = 0, started = 0 }: Claimed,
    session: SessionNumber,
    taken: boolean,
  ): Promise<readonly Claim[]> {
    if (claims.some((row) => this.#lanes.get(row[1]) === undefined)) await this.#lanes.refresh();
    if (claims.some((row) => this.#lanes.get(row[1]) === undefined)) await this.#lanes.renew();
    return claims.map(
      (row, i) =>
        new PostgresClaim(row, {
          session,
          token: (token + i) as Token,
          lane: this.#lanes.get(row[1]) as Lane,
          started: i < started,
          taken,
        }),
    );
  }
}
