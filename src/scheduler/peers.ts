import type { SessionReport } from '../core/ports/sessions.ts';
import type { TaskBody } from '../core/ports/tasks.ts';
import type { SessionNumber } from '../core/ports/words.ts';

/** Another process of the mesh, as its last beat described it. */
export interface Peer {
  readonly session: SessionNumber;
  readonly report: SessionReport;
}

/** A report has room for so many agents, and so many capabilities of each: of more nothing is known. */
export const REPORTED_AGENTS = 20;
export const REPORTED_CAPABILITIES = 5;

/** Whether a process may have an agent for such a task; where the report doesn't tell: yes. */
export function mayRunThere({ report }: Peer, { capabilities }: Pick<TaskBody, 'capabilities'>): boolean {
  const { agents } = report;
  if (agents.length >= REPORTED_AGENTS) return true;
  return agents.some(
    ({ capabilities: own, draining }) =>
      !draining && (own.length >= REPORTED_CAPABILITIES || capabilities.every((name) => own.includes(name))),
  );
}

/** Less than this isn't worth a move. */
const WORTHWHILE = 2;

/**
 * From whom to steal, and how many: half of what the process with the most claimed and unstarted tasks has, at most what there is room for, so
 * that two processes don't pass tasks to and fro. `undefined`: nobody has enough. Pure.
 */
export function stealFrom(
  peers: readonly Peer[],
  room: number,
): { readonly session: SessionNumber; readonly count: number } | undefined {
  let busiest: Peer | undefined;
  for (const peer of peers) {
    if (busiest === undefined || peer.report.load.unstarted > busiest.report.load.unstarted) busiest = peer;
  }
  if (busiest === undefined || busiest.report.load.unstarted < WORTHWHILE) return undefined;
  const count = Math.min(Math.floor(room), Math.floor(busiest.report.load.unstarted / 2));
  return count > 0 ? { session: busiest.session, count } : undefined;
}
