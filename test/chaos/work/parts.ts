import type { CoordinationManager } from '../../../src/index.ts';
import { isCoordinationError } from '../../../src/index.ts';
import type { Random } from '../../../src/core/ports/runtime.ts';
import type { Journal } from '../journal.ts';
import type { Ledger } from '../ledger.ts';
import type { Gate } from './gate.ts';

/** What the loops of a worker share. */
export interface WorkParts {
  readonly mesh: CoordinationManager;
  readonly ledger: Ledger;
  readonly journal: Journal;
  readonly random: Random;
  readonly gate: Gate;
  readonly p: string;
  /** Places of the crew: a mailbox each. */
  readonly places: number;
  /** A number that no other deed of this process has. */
  readonly next: () => number;
}

/** A code for whatever was thrown: of the library, or `LEDGER` for the chaos processes' own connections. */
export function codeOf(error: unknown): string {
  if (isCoordinationError(error)) return error.code;
  const { code, message } = error as { readonly code?: unknown; readonly message?: unknown };
  const words = [code, message].filter((word) => typeof word === 'string');
  const text = words.length === 0 ? JSON.stringify(error) : words.join(' ');
  const isConnection =
    /ECONN|EPIPE|not queryable|25P02|53300|57P0|08006|closed|terminat|timeout|timed out|retries|starting up|shutting down|recovery|unreachable/i;
  return isConnection.test(text) ? 'LEDGER' : `UNKNOWN ${text}`;
}

/** A whole number from 0 to below `below`. */
export function below(random: Random, limit: number): number {
  return Math.floor(random.next() * limit);
}
