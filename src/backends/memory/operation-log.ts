import { CoordinationError } from '../../core/errors.ts';
import type { Operation, SessionNumber } from '../../core/ports/words.ts';

/**
 * The answers of the last operations of each session (G1), shared by the stores of one memory backend because a session numbers its
 * calls across ports. A repeated operation gets its first answer; one that is too old to know, or of a dead session, is refused.
 */
export class OperationLog {
  readonly #size: number;
  readonly #rings = new Map<SessionNumber, { newest: number; sequences: number[]; answers: unknown[] }>();
  #stopped = false;

  constructor(maxInFlight: number) {
    this.#size = 2 * maxInFlight;
  }

  /** Whether the backend is stopped: then every operation is refused. */
  get stopped(): boolean {
    return this.#stopped;
  }
  set stopped(value: boolean) {
    this.#stopped = value;
  }

  open(session: SessionNumber): void {
    this.#rings.set(session, {
      newest: 0,
      sequences: new Array<number>(this.#size).fill(0),
      answers: new Array(this.#size),
    });
  }

  /** Ends a session: its operations are refused from now on. */
  close(session: SessionNumber): void {
    this.#rings.delete(session);
  }

  isOpen(session: SessionNumber): boolean {
    return this.#rings.has(session);
  }

  /** Whether a call of this session that needs no record may be carried out. @throws STOPPED */
  admits(session: SessionNumber): boolean {
    this.refuseIfStopped();
    return this.#rings.has(session);
  }

  /** For a call without a record that may come from a dead session too: its tokens decide. @throws STOPPED */
  refuseIfStopped(): void {
    if (this.#stopped) throw stopped();
  }

  /**
   * Executes `apply` once for this operation and remembers its answer.
   * @param evenExpired a settle may come from a dead session: it is then carried out without a record, its token decides.
   * @throws SESSION_EXPIRED, STOPPED
   */
  once<T>(op: Operation, apply: () => T, evenExpired = false): T {
    if (this.#stopped) throw stopped();
    const ring = this.#rings.get(op.session);
    if (ring === undefined) {
      if (evenExpired) return apply();
      throw expired(`Session ${op.session} is not open`);
    }
    const slot = op.sequence % this.#size;
    if (op.sequence > ring.newest) ring.newest = op.sequence;
    else if (ring.sequences[slot] === op.sequence) return ring.answers[slot] as T;
    else if (op.sequence <= ring.newest - this.#size)
      throw expired(`Operation ${op.sequence} is too old to be known`);
    const answer = apply();
    ring.sequences[slot] = op.sequence;
    ring.answers[slot] = answer;
    return answer;
  }
}

/** The refusal of a backend that is stopped. */
export function stopped(): CoordinationError {
  return new CoordinationError('STOPPED', 'The memory backend is stopped');
}

function expired(message: string): CoordinationError {
  return new CoordinationError('SESSION_EXPIRED', message, {
    hint: 'Open a new session and ask again with a new operation.',
  });
}
