/** Words that events and several parts share. Plain data, JSON-safe. */

export type CircuitState = 'closed' | 'open' | 'half-open';
/** The predecessor's constants: `getState() === CircuitState.OPEN`. */
export const CircuitState = { CLOSED: 'closed', OPEN: 'open', HALF_OPEN: 'half-open' } as const;

export type ConflictKind = 'resource' | 'assignment' | 'dependency' | 'output' | 'version';

export interface ConflictRecord {
  readonly id: string;
  readonly kind: ConflictKind;
  /** Resource or task id. */
  readonly subject: string;
  readonly agents: readonly string[];
  /** ms since 1970. */
  readonly at: number;
  readonly resolved: boolean;
}

export interface Resolution {
  readonly conflictId: string;
  /** Name of the strategy that decided. */
  readonly type: string;
  readonly winner: string;
  readonly losers: readonly string[];
  readonly reason: string;
  /** ms since 1970. */
  readonly at: number;
  /** Strategy `merge`: the merged content. */
  readonly merged?: string;
}
