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
  readonly promise: Promise<Record>;
  resolve!: (lock: Record) => void;
  reject!: (error: unknown) => void;
  onAbort: (() => void) | undefined;
  /** Agents or owners that held it when a store that may be far put it into its queue. */
  holders: readonly string[] | undefined;
  /** The list of those with the same time limit, and its neighbours there; without one it waits for ever. */
  limit: Limit<Record> | undefined;
  earlier: Pending<Record> | undefined;
  later: Pending<Record> | undefined;

  constructor(record: Record, began: Moment) {
    this.record = record;
    this.began = began;
    // Not by `withResolvers`, which costs twice as much.
    this.promise = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
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
