/**
 * Words that all ports share, and the conventions that hold for every method of every port:
 * - **Batch in, batch out.** Arrays are non-empty, hold at most `Capabilities.maxBatch` items, and the answer has one element for
 *   each item, in the same order. One item's refusal never fails its neighbours. Expected outcomes are values; a port rejects only
 *   with `BACKEND_UNAVAILABLE` (nothing was sent), `OUTCOME_UNKNOWN` (sent, reply lost: repeat with the SAME {@link Operation}),
 *   `SESSION_EXPIRED`, `SCHEMA_MISMATCH`, `NOT_SUPPORTED`, `STOPPED`. Core has validated and normalised all arguments; a port trusts them.
 * - **No policy.** Backoff, victim, scaling, steal and cascade choices arrive as data (`delayMs`, `ageStepMs`, `onFailure`, `maxCrashes`).
 * - **Time** is the backend's clock, µs since 1970 as an integer `number` (exact until 2255), on one axis per backend. `…Ms` are
 *   durations: core never sends an absolute time, a user's `runAt` neither: it is sent as what is left until then.
 * - **Awaitable.** A port may answer without a promise; the memory backend always does. Core touches answers only through `andThen`.
 */

declare const brand: unique symbol;
/** A `T` that only the module that made it can make. */
export type Branded<T, Name extends string> = T & { readonly [brand]: Name };

/** Backend time, µs since 1970. */
export type BackendTime = Branded<number, 'BackendTime'>;
/**
 * One boot of one process, as the backend knows it. Assigned by {@link Sessions.open}, strictly increasing, **never used twice**: it is worker id and
 * epoch in one, so `(session, token)` is the whole fence. A process that loses its session gets a new, higher number.
 */
export type SessionNumber = Branded<number, 'SessionNumber'>;
/** Fencing token: strictly increasing per task or per resource, for ever: `max(previous + 1, backend time in µs)`. */
export type Token = Branded<number, 'Token'>;
/** Where a list goes on. Opaque, at most 256 bytes, survives a restart of the server; stale ones answer as if at the nearest place. */
export type Cursor = Branded<string, 'Cursor'>;

/**
 * Identity of a mutating call. The store remembers the answers of the last 2 × maxInFlight sequences of a session and replays them;
 * core issues n only once n − maxInFlight is answered. Anything at or below newest − 2 × maxInFlight that it no longer remembers, or of a
 * session that is closed or expired, is REFUSED (`SESSION_EXPIRED`), never executed — except a settle, which an expired session may
 * send while its token is current. So "retry with the same operation is safe" has no time limit and costs one small record a batch.
 */
export interface Operation {
  readonly session: SessionNumber;
  /** From 1, one more for each new call of the session, whatever the port. */
  readonly sequence: number;
}

/** Every answer carries the backend's time when it was computed, so core can show ages and clock skew. */
export interface Stamped {
  readonly at: BackendTime;
}

/** A page of a list. `scanned` rows were looked at; when the scan budget ended first, `items` may be short or empty although `next` is set. */
export interface Page<T> extends Stamped {
  readonly items: readonly T[];
  readonly next: Cursor | undefined;
  readonly scanned: number;
}

/** Asks for a page. Never causes a COUNT(*); `limit` ≤ 1,000; the store stops after `scanBudget` rows. @default scanBudget 20,000 */
export interface PageRequest {
  readonly after?: Cursor;
  readonly limit: number;
  readonly scanBudget?: number;
}

/**
 * User data: a value that core has checked to be JSON-safe, or `undefined`. A store in the same process keeps and returns the object
 * itself; one across a network makes JSON text of it at its own edge, once, and answers with an equal value. Stored as TEXT, never
 * `jsonb`: JSON text escapes U+0000 and lone surrogates, which `jsonb` refuses [M], so nothing needs sanitising.
 */
export type Encoded = unknown;

/** A value, or a promise of it. Inside core only `andThen` looks at the difference. */
export type Awaitable<T> = T | Promise<T>;
