import { CoordinationError } from '../core/errors.ts';

/** The call was refused without being made. */
export class CircuitOpenError extends CoordinationError {
  declare readonly code: 'CIRCUIT_OPEN';
  /** Name of the breaker. */
  readonly breaker: string;
  /** ms until probes are let through; 0 when they are already, and all places are taken just now. */
  declare readonly retryAfterMs: number;

  constructor(breaker: string, facts: { readonly retryAfterMs: number; readonly reason: string }) {
    const { retryAfterMs, reason } = facts;
    super(
      'CIRCUIT_OPEN',
      retryAfterMs > 0
        ? `Circuit ${JSON.stringify(breaker)} is open for another ${Math.ceil(retryAfterMs)} ms: ${reason}`
        : `Circuit ${JSON.stringify(breaker)} is half-open and all its probes are under way`,
      { retryAfterMs, hint: 'Use a fallback, or try again after retryAfterMs.' },
    );
    this.name = 'CircuitOpenError';
    this.breaker = breaker;
  }
}
