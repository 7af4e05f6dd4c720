import { andThen } from './core/awaitable.ts';
import { backendMs } from './core/backend-ms.ts';
import type { SessionReport, Sessions } from './core/ports/sessions.ts';
import type { Awaitable, SessionNumber } from './core/ports/words.ts';

/** A process of the mesh: this one as it is now, another as it described itself at its last sign of life. */
export interface ProcessView {
  /** Of one boot: the same process has another number after its session was lost. */
  readonly session: number;
  /** Whether it is this one. */
  readonly own: boolean;
  readonly host: string;
  readonly pid: number;
  /** When its lease ends unless it is renewed, ms since 1970 by the clock of the store; `Infinity` in memory. */
  readonly expiresAt: number;
  readonly running: number;
  /** Claimed and not begun. */
  readonly unstarted: number;
  readonly slots: number;
  readonly rssBytes: number;
  /** At most 20, with at most 5 capabilities each. */
  readonly agents: readonly {
    readonly id: string;
    readonly capabilities: readonly string[];
    readonly running: number;
    readonly slots: number;
    readonly draining: boolean;
  }[];
}

/** Most processes that are listed. */
const MOST = 1_000;

/** The processes that live, this one included. @param now what this one says of itself */
export function listProcesses(
  sessions: Sessions,
  own: SessionNumber,
  now: SessionReport,
): Awaitable<readonly ProcessView[]> {
  return andThen(sessions.list({ limit: MOST }), ({ items, at }) =>
    items.flatMap(({ session, expiresAt, report }) => {
      if (expiresAt <= at) return [];
      const { host, pid, rssBytes, agents, load } = session === own ? now : report;
      const { running, unstarted, slots } = load;
      const view = { session, own: session === own, host, pid, expiresAt: backendMs(expiresAt) };
      return [{ ...view, running, unstarted, slots, rssBytes, agents }];
    }),
  );
}
