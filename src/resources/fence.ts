import { checkFunction, checkId, checkNumber } from '../core/check.ts';
import { CoordinationError } from '../core/errors.ts';
import { type EventSink, silentSink } from '../core/events.ts';

/**
 * Guards the place that is written to: a write whose token is older than one seen before is refused, and one that was overtaken while it
 * ran is reported as refused. That is what makes a lock with a lease safe after a long pause (Kleppmann 2016, "How to do distributed locking").
 */
export class FencedResource {
  readonly name: string;
  readonly #events: EventSink;
  #newest = 0;

  constructor(name: string, events: EventSink = silentSink) {
    this.name = checkId(name, 'the name of a fenced resource');
    this.#events = events;
  }

  /** The newest token seen. */
  get newest(): number {
    return this.#newest;
  }

  /** @throws STALE_FENCE */
  async write<R>(token: number, write: (token: number) => R | Promise<R>): Promise<R> {
    checkNumber(token, 'token', 0);
    checkFunction(write, 'the write');
    this.#check(token);
    this.#newest = token;
    const result = await write(token);
    this.#check(token);
    return result;
  }

  #check(token: number): void {
    if (token >= this.#newest) return;
    refuseFence(this.#events, this.name, token, this.#newest);
  }
}

/** Reports and throws STALE_FENCE. */
export function refuseFence(events: EventSink, resourceId: string, token: number, current: number): never {
  if (events.wants('fence:refused')) events.emit('fence:refused', { resourceId, token, current });
  throw new CoordinationError(
    'STALE_FENCE',
    `A write to ${resourceId} with token ${token} was refused: token ${current} was seen`,
    { hint: 'The lock was lost. Acquire it again and repeat the work with the new token.' },
  );
}
