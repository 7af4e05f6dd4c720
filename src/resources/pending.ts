import type { Timer } from '../core/ports/runtime.ts';
import type { Moment } from './moment.ts';

/** Waits with one time limit, in the order in which they began: the first to run out is the first of the list. */
export class Limit<Record> {
  readonly ms: number;
  first: Pending<Record> | undefined;
  last: Pending<Record> | undefined;
  timer: Timer | undefined;

  constructor(ms: number) {
    this.ms = ms;
    this.first = undefined;
    this.last = undefined;
    this.timer = undefined;
  }
}

/** A wait: its promise, and what may end it. */
export class Pending<Record> {
  readonly record: Record;
  readonly began: Moment;
  /** `Infinity`: for ever. */
  readonly timeoutMs: number;
  readonly promise: Promise<Record>;
  readonly resolve: (lock: Record) => void;
  readonly reject: (error: unknown) => void;
  /** The store has it in its queue. */
  queued = false;
  onAbort: (() => void) | undefined;
  /** Agents or owners that held it when the store last said. */
  holders: readonly string[] | undefined;
  /** The list of those with the same time limit, and its neighbours there. */
  limit: Limit<Record> | undefined;
  earlier: Pending<Record> | undefined;
  later: Pending<Record> | undefined;

  constructor(record: Record, began: Moment, timeoutMs: number) {
    this.record = record;
    this.began = began;
    this.timeoutMs = timeoutMs;
    const { promise, resolve, reject } = Promise.withResolvers<Record>();
    this.promise = promise;
    this.resolve = resolve;
    this.reject = reject;
    this.onAbort = undefined;
    this.holders = undefined;
    this.limit = undefined;
    this.earlier = undefined;
    this.later = undefined;
  }

  /** mono ms; exact to a turn of the loop, and not too early. */
  get startedAt(): number {
    return this.began.ms;
  }
}
