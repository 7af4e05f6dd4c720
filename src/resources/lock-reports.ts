import { type EventSink, wanting } from '../core/events.ts';
import { modeName } from '../core/lock-modes.ts';
import type { Clock } from '../core/ports/runtime.ts';
import type { LockRecord } from './lock-record.ts';
import type { Pending } from './pending.ts';

/** Of a wait that ended in the turn of the loop in which it began. */
const LEAST_WAIT_MS = 0.001;

/** What locks report. Every event is asked for first: on the way of an uncontended lock that is all it costs. */
export class LockReports {
  readonly #events: EventSink;
  readonly #clock: Clock;
  readonly #wantsAcquired: () => boolean;
  readonly #wantsWaited: () => boolean;
  readonly #wantsReleased: () => boolean;

  constructor(events: EventSink, clock: Clock) {
    this.#events = events;
    this.#clock = clock;
    this.#wantsAcquired = wanting(events, 'resource:acquired');
    this.#wantsWaited = wanting(events, 'resource:waited');
    this.#wantsReleased = wanting(events, 'resource:released');
  }

  /** @param pending its wait, if it had to wait */
  acquired(lock: LockRecord, pending: Pending<LockRecord> | undefined): void {
    if (!this.#wantsAcquired()) return;
    const agentId = lock.holder.label;
    const waited = pending === undefined ? 0 : this.#since(pending);
    for (const { resource, mode, token } of lock.namedItems()) {
      const payload = { resourceId: resource, agentId, mode: modeName(mode), token, waitedMs: waited };
      this.#events.emit('resource:acquired', payload);
    }
  }

  /** A held lock goes on in another mode. @param pending the wait of its upgrade, if that had to wait */
  converted(lock: LockRecord, pending: Pending<LockRecord> | undefined): void {
    if (!this.#events.wants('resource:converted')) return;
    const agentId = lock.holder.label;
    const waited = pending === undefined ? 0 : this.#since(pending);
    for (const { resource, mode, token } of lock.namedItems()) {
      const payload = { resourceId: resource, agentId, mode: modeName(mode), token, waitedMs: waited };
      this.#events.emit('resource:converted', payload);
    }
  }

  waited(record: LockRecord, ahead: number): void {
    if (!this.#wantsWaited()) return;
    const agentId = record.holder.label;
    this.#events.emit('resource:waited', { resourceId: record.resource, agentId, ahead });
  }

  released(lock: LockRecord): void {
    if (!this.#wantsReleased()) return;
    const agentId = lock.holder.label;
    const held = lock.host.ageMs(lock);
    for (const resourceId of lock.names) {
      this.#events.emit('resource:released', { resourceId, agentId, heldMs: held });
    }
  }

  expired(lock: LockRecord): void {
    if (!this.#events.wants('resource:expired')) return;
    const agentId = lock.holder.label;
    for (const { resource, token } of lock.namedItems()) {
      this.#events.emit('resource:expired', { resourceId: resource, agentId, token });
    }
  }

  abandoned(pending: Pending<LockRecord>, error: unknown): void {
    if (!this.#events.wants('resource:abandoned')) return;
    const { record } = pending;
    this.#events.emit('resource:abandoned', {
      resourceId: record.resource,
      agentId: record.holder.label,
      waitedMs: this.#since(pending),
      code: codeOf(error),
    });
  }

  /** ms; never 0, so that it tells a wait from a grant at once. */
  #since({ startedAt }: Pending<LockRecord>): number {
    return Math.max(LEAST_WAIT_MS, this.#clock.mono() - startedAt);
  }
}

function codeOf(error: unknown): string {
  const code: unknown = (error as { readonly code?: unknown } | null | undefined)?.code;
  return typeof code === 'string' ? code : 'ABORTED';
}
