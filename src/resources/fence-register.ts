import type { EventSink } from '../core/events.ts';
import { refuseFence } from './fence.ts';
import type { LockRecord } from './lock-record.ts';

/** Resources whose newest seen token is remembered; locks of forgotten ones are still refused once they are over. */
const MAX_FENCES = 100_000;

/** The newest token that was seen at each resource, by the writes of leases. */
export class FenceRegister {
  readonly #events: EventSink;
  readonly #newest = new Map<string, number>();

  constructor(events: EventSink) {
    this.#events = events;
  }

  /** See `Lease.fenced`. @throws STALE_FENCE */
  async write<R>(lock: LockRecord, write: (token: number) => R | Promise<R>): Promise<R> {
    this.#check(lock);
    for (const { resource, token } of lock.namedItems()) this.#see(resource, token);
    const result = await write(lock.token);
    this.#check(lock);
    return result;
  }

  #check(lock: LockRecord): void {
    for (const { resource, token } of lock.namedItems()) {
      const newest = this.#newest.get(resource) ?? 0;
      if (token < newest) refuseFence(this.#events, resource, token, newest);
      if (lock.status !== 'held' || lock.expiresInMs <= 0)
        refuseFence(this.#events, resource, token, Math.max(newest, token + 1));
    }
  }

  #see(resource: string, token: number): void {
    this.#newest.delete(resource);
    this.#newest.set(resource, token);
    if (this.#newest.size <= MAX_FENCES) return;
    const [oldest] = this.#newest.keys();
    this.#newest.delete(oldest as string);
  }
}
