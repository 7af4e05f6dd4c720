import type { CycleEdge, WaitRef } from './locks.ts';
import type { Awaitable, BackendTime, Page, PageRequest, SessionNumber, Stamped, Token } from './words.ts';

/** What a process says about itself at each beat; replaces the former. Shown on the dashboard, read by balancer and scaler. At most 8 KiB. */
export interface SessionReport {
  readonly host: string;
  readonly pid: number;
  readonly build: string;
  readonly load: {
    readonly running: number;
    readonly unstarted: number;
    readonly slots: number;
    readonly weight: number;
  };
  readonly rssBytes: number;
  readonly loopLagMs: number;
  readonly agents: readonly {
    readonly id: string;
    readonly capabilities: readonly string[];
    readonly running: number;
    readonly slots: number;
    readonly draining: boolean;
  }[];
  readonly progress: readonly {
    readonly task: string;
    readonly token: Token;
    readonly ratio?: number;
    readonly note?: string;
  }[];
}

/** What the store wants this session to know. Level-triggered: repeated in each beat until the claim is settled or the session acts. */
export type Order =
  | { readonly kind: 'cancel'; readonly task: string; readonly token: Token; readonly reason: string }
  | { readonly kind: 'taken'; readonly task: string; readonly token: Token } // stolen or reclaimed: token is no longer current
  | { readonly kind: 'abort-wait'; readonly wait: WaitRef; readonly cycle: readonly CycleEdge[] }
  | { readonly kind: 'drain'; readonly reason: string }
  | { readonly kind: 'upgrade'; readonly oldestWriter: number }; // schema will leave this build behind: drain, then stop

/**
 * Life of a process as the backend sees it: ONE lease that carries its claims, its waits, its `lease: 'session'` locks and its memberships. Expired = all
 * of them takeable. Three separate heartbeats could disagree; this one can't.
 */
export interface Sessions {
  /** Opens a session for `boot` (random per process start). Same boot while alive → same number (that is how a lost reply is repaired); expired → a new one. */
  open(request: {
    readonly boot: string;
    readonly leaseMs: number;
    readonly writer: number;
    readonly report: SessionReport;
  }): Awaitable<Stamped & { readonly session: SessionNumber; readonly expiresAt: BackendTime }>;
  /**
   * Extends the lease iff it has not expired, stores the report, returns orders. `expired` is final: an expired session never revives, even if nobody took
   * anything. May be called from another thread with its own connection; idempotent, so it takes no operation.
   */
  beat(
    session: SessionNumber,
    report: SessionReport,
  ): Awaitable<
    Stamped &
      (
        | { readonly status: 'alive'; readonly expiresAt: BackendTime; readonly orders: readonly Order[] }
        | { readonly status: 'expired' }
      )
  >;
  /** Ends it. Unstarted claims, waits, memberships and session locks are given back in the same step; started claims become takeable at once. Idempotent. */
  close(session: SessionNumber): Awaitable<Stamped>;
  /** Sessions with their last report, live first; expired ones for 24 h. */
  list(page: PageRequest & { readonly state?: 'alive' | 'suspect' | 'expired' }): Awaitable<
    Page<{
      readonly session: SessionNumber;
      readonly boot: string;
      readonly expiresAt: BackendTime;
      readonly writer: number;
      readonly report: SessionReport;
    }>
  >;
}
