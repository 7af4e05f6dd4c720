/** The four doors of the injected runtime. Implementations live in `core/runtime`; nothing else reads time, chance or identity. */

/** Handle of a pending timer; `cancel` is idempotent and O(1). */
export interface Timer {
  cancel(): void;
}

/** Local time. Deadlines inside a process use `mono`; nothing that another process reads may come from here. */
export interface Clock {
  /** Milliseconds that never go backwards, fractional, from an arbitrary origin. Simulated in tests. */
  mono(): number;
  /** Wall clock in ms since 1970, for display and for reading users' `Date`s only. */
  wall(): number;
  /** Calls `fn` once after at least `delayMs` (clamped and chained beyond 2^31−1). Holds the process open only when `keepAlive`. @default keepAlive false */
  after(delayMs: number, fn: () => void, keepAlive?: boolean): Timer;
  /** Runs `fn` in a later turn of the loop: the coalescing window of network backends, and where a long pump yields. */
  soon(fn: () => void): void;
}

/** Seeded randomness; the same seed gives the same run. */
export interface Random {
  /** A float in [0, 1). */
  next(): number;
  /** An independent stream, stable for `label`, so that adding a consumer doesn't shift the others. */
  fork(label: string): Random;
}

/** Unique, time-ordered ids (UUIDv7 by default), without any meaning beyond that. */
export interface Ids {
  next(): string;
}

/**
 * Message first, then facts: the shape that console, winston and the predecessor's logger share (pino's is turned round by `fromPino`).
 * `debug` may be skipped when `isDebug` is false.
 */
export interface Logger {
  readonly isDebug?: boolean;
  debug(message: string, facts?: object): void;
  info(message: string, facts?: object): void;
  warn(message: string, facts?: object): void;
  error(message: string, facts?: object): void;
}

/** The only door to time, chance and identity. One per manager. */
export interface Runtime {
  readonly clock: Clock;
  readonly random: Random;
  readonly ids: Ids;
  readonly logger: Logger;
}
