import type { DeadlockError } from '../core/deadlock-error.ts';
import { CoordinationError } from '../core/errors.ts';
import type { Clock, Timer } from '../core/ports/runtime.ts';

/** A request that waits for its reply. */
export interface PendingRequest {
  readonly id: string;
  readonly from: string;
  readonly to: string;
  readonly orderKey: string;
  readonly node: string | undefined;
  /** Its handling ended without a reply: whoever answers does so from elsewhere. */
  handled: boolean;
}

interface Waiting extends PendingRequest {
  readonly resolve: (payload: unknown) => void;
  readonly reject: (error: unknown) => void;
  readonly timer: Timer;
  readonly signal: AbortSignal | undefined;
  readonly onAbort: () => void;
}

/**
 * Requests under way. Each settles exactly once: by its reply, its timeout, the loss of its responder, its signal, a deadlock, or the
 * stop (M2); whatever comes later finds it gone. Nothing else ever removes one.
 */
export class Replies {
  readonly #clock: Clock;
  readonly #waiting = new Map<string, Waiting>();
  readonly #byNode = new Map<string, Set<Waiting>>();
  #late = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get size(): number {
    return this.#waiting.size;
  }

  /** Replies that found nobody waiting. */
  get late(): number {
    return this.#late;
  }

  get(id: string): PendingRequest | undefined {
    return this.#waiting.get(id);
  }

  /** Waits for the reply to `request.id`. */
  expect(
    request: Omit<PendingRequest, 'handled'>,
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<unknown> {
    const { id, to } = request;
    return new Promise((resolve, reject) => {
      const onAbort = (): void => void this.refuse(id, signal?.reason);
      const timer = this.#clock.after(
        timeoutMs,
        () =>
          this.refuse(
            id,
            new CoordinationError('REPLY_TIMEOUT', `No reply from ${to} within ${timeoutMs} ms`),
          ),
        true,
      );
      const waiting: Waiting = { ...request, handled: false, resolve, reject, timer, signal, onAbort };
      this.#waiting.set(id, waiting);
      signal?.addEventListener('abort', onAbort, { once: true });
      if (request.node === undefined) return;
      const ofNode = this.#byNode.get(request.node);
      if (ofNode === undefined) this.#byNode.set(request.node, new Set([waiting]));
      else ofNode.add(waiting);
    });
  }

  /** @returns false when nobody waits (any more): counted as late. */
  resolve(id: string, payload: unknown): boolean {
    const waiting = this.#remove(id);
    if (waiting === undefined) return this.countLate();
    waiting.resolve(payload);
    return true;
  }

  countLate(): false {
    this.#late += 1;
    return false;
  }

  /** @returns false when nobody waits (any more). */
  refuse(id: string, error: unknown): boolean {
    const waiting = this.#remove(id);
    waiting?.reject(error);
    return waiting !== undefined;
  }

  markHandled(id: string): void {
    const waiting = this.#waiting.get(id);
    if (waiting !== undefined) waiting.handled = true;
  }

  /** An agent that answers no more. */
  responderLeft(agentId: string, reason: string): void {
    for (const { id, to } of this.#waiting.values()) {
      if (to === agentId) this.refuse(id, noResponder(to, reason));
    }
  }

  /** An agent whose own requests nobody waits for any more. */
  requesterLeft(agentId: string, error: Error): void {
    for (const { id, from } of this.#waiting.values()) if (from === agentId) this.refuse(id, error);
  }

  close(error: Error): void {
    for (const id of this.#waiting.keys()) this.refuse(id, error);
  }

  /** Requests of a unit of execution. */
  of(node: string): readonly PendingRequest[] {
    return [...(this.#byNode.get(node) ?? [])];
  }

  /** Units of execution that wait. */
  nodes(): Iterable<string> {
    return this.#byNode.keys();
  }

  /** Ends all waits of a deadlock's victim. */
  abort(node: string, error: DeadlockError): boolean {
    const waiting = this.of(node);
    for (const { id } of waiting) this.refuse(id, error);
    return waiting.length > 0;
  }

  #remove(id: string): Waiting | undefined {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return undefined;
    this.#waiting.delete(id);
    waiting.timer.cancel();
    waiting.signal?.removeEventListener('abort', waiting.onAbort);
    if (waiting.node === undefined) return waiting;
    const ofNode = this.#byNode.get(waiting.node);
    ofNode?.delete(waiting);
    if (ofNode?.size === 0) this.#byNode.delete(waiting.node);
    return waiting;
  }
}

export function noResponder(to: string, reason: string): CoordinationError {
  return new CoordinationError('NO_RESPONDER', `Nobody answers for ${to}: ${reason}`, {
    hint: 'Let the receiver subscribe, and see why its handler fails; then ask again.',
  });
}
