import type { Order } from '../core/ports/sessions.ts';
import type { Token } from '../core/ports/words.ts';
import type { Run, StopCause } from './agent.ts';

/** How a run is ended from outside. */
export interface RunStops {
  stop(run: Run, cause: StopCause, reason: string): void;
  /** Forgets one that hasn't begun; does nothing to others. */
  drop(run: Run, reason: string): void;
}

/**
 * Carries out the orders that speak of runs of this process. The store repeats an order until its claim is settled, so one for a run that
 * isn't known yet is passed over; the token tells a run from an earlier or later one of the same task.
 */
export function obeyOrders(orders: readonly Order[], runs: Iterable<Run>, { stop, drop }: RunStops): void {
  const byClaim = new Map<string, Extract<Order, { kind: 'cancel' | 'taken' }>>();
  for (const order of orders)
    if (order.kind === 'cancel' || order.kind === 'taken') byClaim.set(nameOf(order), order);
  if (byClaim.size === 0) return;
  // A copy: ending one changes the lists.
  for (const run of [...runs]) {
    const order = byClaim.get(nameOf(run.claim));
    if (order === undefined) continue;
    if (order.kind === 'cancel') stop(run, 'cancel', order.reason);
    else {
      drop(run, TAKEN);
      stop(run, 'taken', TAKEN);
    }
  }
}

function nameOf({ task, token }: { readonly task: string; readonly token: Token }): string {
  return `${token} ${task}`;
}

const TAKEN = 'another process has taken it over';
