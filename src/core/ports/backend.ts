import type { LockStore } from './locks.ts';
import type { MessageTransport } from './messages.ts';
import type { Runtime } from './runtime.ts';
import type { Sessions } from './sessions.ts';
import type { StateStore } from './state.ts';
import type { TaskStore } from './tasks.ts';
import type { Awaitable, SessionNumber, Stamped } from './words.ts';

/** What survives what. Established by looking at the server in `start`, not declared from hope. */
export type Durability =
  | 'process' /* memory */
  | 'seconds' /* Redis AOF everysec: the last seconds may be lost when the server dies */
  | 'server-crash' /* AOF always, PostgreSQL: on disk before the answer */;

/** Facts about a backend's abilities; constant after `start`. The conformance suite compares them with what its caller expects and never skips silently. */
export interface Capabilities {
  /** `'none'`: answers synchronously, so core neither coalesces nor prefetches. `'network'`: core coalesces in `clock.soon` and keeps 2 flushes in flight. */
  readonly roundTrip: 'none' | 'network';
  /** Whether user data comes back as the very object that was given, or as an equal one. */
  readonly encoding: 'reference' | 'json';
  /** Most items of one batch. Redis 250: a script of 1,000 ids takes 2–4.6 ms and stalls others (ping max 16 ms); pipelined 250s are even faster in bulk. */
  readonly maxBatch: number;
  /**
   * Whether calls of one process are carried out in the order in which they were made, unless a connection fails. Then core keeps two enqueues
   * under way, else one, so that tasks come to their queues as they were submitted.
   */
  readonly ordered: boolean;
  /** Most unacknowledged operations per session. */
  readonly maxInFlight: number;
  /** {@link TaskStore.within} works: enqueue and settle may join the caller's own transaction. */
  readonly transactions: boolean;
  /** Whether other processes can see this backend. Decides if stealing between processes, published waits and deadlock sweeps run at all. */
  readonly shared: boolean;
  /** `'item'`: each message is acknowledged and redelivered alone. `'cursor'` (Kafka): an ack moves a watermark, no delayed redelivery. */
  readonly redelivery: 'item' | 'cursor';
}

/** What `start` found. `problems` of severity `refuse` make the manager's `initialize` reject unless the option `allow: [code]` names them. */
export interface BackendReport extends Stamped {
  readonly durability: Durability;
  readonly server: string;
  readonly schema: { readonly version: number; readonly oldestWriter: number };
  readonly problems: readonly {
    readonly code: string;
    readonly severity: 'warn' | 'refuse';
    readonly message: string;
    readonly hint: string;
  }[];
}

/** A wake-up. Never carries state, may be lost, doubled, late or spurious; whoever gets it asks the store. */
export type Hint =
  | { readonly about: 'tasks'; readonly queue: string }
  | { readonly about: 'orders' } // this session has cancellations or takeovers waiting in its next beat
  | { readonly about: 'locks'; readonly resource: string; readonly request?: string } // of one request for it; without one, of any
  | { readonly about: 'messages'; readonly address: string }
  | { readonly about: 'state'; readonly prefix: string }
  | { readonly about: 'reconnected' }; // anything may have been missed: ask everything once, re-verify ownership by a beat

/** How a thread of its own renews the lease of a session. */
export interface PulseOptions {
  readonly everyMs: number;
  /** A main loop that doesn't come round for so long is given up: its lease runs out. */
  readonly stuckMs: number;
  /** Called when the thread has died: nothing renews the lease from there any more. @param code why, without secrets */
  readonly failed: (code: string) => void;
}

/** A thread that renews a lease, until disposed or the session is over. Disposing resolves when it has ended; idempotent. */
export interface Pulse extends AsyncDisposable {
  /** The main loop has come round. */
  tick(): void;
  /** A beat of the main loop that was sent so long ago has been answered: the thread need not renew for a while. */
  beaten(agoMs: number): void;
  /** ms since the last renewal was sent that the store has confirmed; `Infinity` before the first. */
  agoMs(): number;
}

/** A place where coordination state lives. Kafka brings `messages` only; `combine(postgres, kafka)` makes one of two. */
export interface Backend {
  readonly name: string;
  readonly capabilities: Capabilities;
  readonly sessions?: Sessions; // required by tasks and locks
  readonly tasks?: TaskStore;
  readonly locks?: LockStore;
  readonly messages?: MessageTransport;
  readonly state?: StateStore;
  /** Codes of problems that its start may report, for the manager's `allow`. @default those of the backends of this library */
  readonly problems?: readonly string[];
  /**
   * Connects, checks server and schema, starts listening. Rejects within `connectTimeoutMs`, never hangs. Idempotent.
   * @param allowed problems of severity `refuse` that are no reason to leave anything undone; they are reported all the same
   */
  start(runtime: Runtime, allowed?: readonly string[]): Awaitable<BackendReport>;
  /** Whether it answers: quick, without side effects. Never rejects. */
  check(): Awaitable<{ readonly healthy: boolean; readonly detail?: string }>;
  /** Closes what it opened (never a client that the user passed in). Pending calls reject with `STOPPED`. Idempotent. */
  stop(): Awaitable<void>;
  /**
   * Renews the session's lease from a thread with a connection of its own, so that a blocked event loop doesn't lose it. `undefined`: it
   * can't, for a client of the user's, or a function in its settings, can't cross threads. It only extends the lease; reports and orders go
   * by `Sessions.beat`. @throws when the process may start no thread
   */
  pulse?(session: SessionNumber, options: PulseOptions): Pulse | undefined;
  /** Calls `listener` for hints about `interest` (exact names, or `*` for all of a kind) until disposed. One connection per process, whatever the number of listeners. */
  onHint(interest: readonly Hint[], listener: (hint: Hint) => void): Disposable;
}
