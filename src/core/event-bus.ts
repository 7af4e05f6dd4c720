import type {
  CoordinationEvent,
  CoordinationEvents,
  CustomEventName,
  EventName,
  EventSink,
  PayloadOf,
} from './events.ts';
import { CoordinationError, describe } from './errors.ts';
import { handled, isPromise } from './awaitable.ts';
import type { Clock, Logger, Timer } from './ports/runtime.ts';
import { Ring } from './ring.ts';
import { Logger as LineLogger } from './runtime/logger.ts';
import { systemClock } from './runtime/runtime.ts';

type Name = EventName | CustomEventName;
export type Listener<N> = (payload: PayloadOf<N>) => void | Promise<void>;
type AnyListener = (payload: unknown) => unknown;

interface Channel {
  count: number;
  lastAt: number | undefined;
  /** Replaced, never changed: a listener that adds or removes listeners doesn't disturb the emission under way. */
  listeners: readonly AnyListener[];
}

export interface EventBusOptions {
  /** Logs every event at level debug. @default false */
  readonly debug?: boolean;
  readonly logger?: Logger;
  readonly clock?: Clock;
}

export interface EventStats {
  /** Occurrences, also of those nobody listened to. */
  readonly count: number;
  readonly listeners: number;
  /** ms since 1970 of the last one that somebody saw. */
  readonly lastAt?: number;
}

export interface EventStream extends AsyncIterable<CoordinationEvent> {
  /** Events that a slow reader lost so far. */
  readonly dropped: number;
}

/**
 * Typed bus. Listeners run synchronously, in the order they were added. One that throws or rejects is reported as `listener:failed` and
 * disturbs neither the emitter nor the next listener (G5); no return value is used.
 */
export class EventBus implements EventSink {
  readonly #channels = new Map<string, Channel>();
  readonly #debug: Logger | undefined;
  readonly #clock: Clock;
  #taps: readonly ((event: CoordinationEvent) => void)[] = [];

  /** `true` or `{ debug: true }` logs every event, to stderr unless a logger is given. */
  constructor(options: boolean | EventBusOptions = {}) {
    const { debug = false, logger, clock } = typeof options === 'boolean' ? { debug: options } : options;
    this.#clock = clock ?? systemClock();
    if (debug) this.#debug = logger ?? new LineLogger({ level: 'debug' });
  }

  /** Hands `payload` to every listener. Returns when all have been called; never throws because of them. */
  emit<N extends EventName>(name: N, payload: CoordinationEvents[N]): void;
  emit(name: CustomEventName, payload: unknown): void;
  emit(name: Name, payload: unknown): void {
    const channel = this.#channel(name);
    channel.count += 1;
    const { listeners } = channel;
    if (listeners.length === 0 && this.#taps.length === 0 && this.#debug === undefined) return;
    this.#deliver(name, channel, payload);
  }

  wants(name: Name): boolean {
    const channel = this.#channel(name);
    if (channel.listeners.length > 0 || this.#taps.length > 0 || this.#debug !== undefined) return true;
    channel.count += 1;
    return false;
  }

  /** Listens until disposed, aborted or `off`. */
  on<N extends Name>(
    name: N,
    listener: Listener<N>,
    options: { readonly signal?: AbortSignal } = {},
  ): Disposable {
    return this.#listen(name, listener as AnyListener, options.signal);
  }

  once<N extends Name>(name: N, listener: Listener<N>): Disposable {
    const subscription = this.#listen(name, ((payload: PayloadOf<N>) => {
      subscription[Symbol.dispose]();
      return listener(payload);
    }) as AnyListener);
    return subscription;
  }

  /** Removes the listener once; unknown ones are ignored. */
  off<N extends Name>(name: N, listener: Listener<N>): void {
    const channel = this.#channels.get(name);
    if (channel === undefined) return;
    const index = channel.listeners.indexOf(listener as AnyListener);
    if (index >= 0) channel.listeners = channel.listeners.toSpliced(index, 1);
  }

  /** Listens to the payloads for which `filter` holds. A filter that throws counts as a failed listener. */
  onFiltered<N extends EventName>(
    name: N,
    filter: (payload: CoordinationEvents[N]) => boolean,
    listener: (payload: CoordinationEvents[N]) => void | Promise<void>,
  ): Disposable {
    return this.#listen(name, ((payload: CoordinationEvents[N]) =>
      filter(payload) ? listener(payload) : undefined) as AnyListener);
  }

  /**
   * The next payload of this event (for which `where` holds).
   * @throws TIMEOUT after `timeoutMs` (default: waits for ever); `signal.reason` when aborted.
   */
  waitFor<N extends EventName>(
    name: N,
    timeoutOrOptions:
      | number
      | {
          readonly timeoutMs?: number;
          readonly signal?: AbortSignal;
          readonly where?: (payload: CoordinationEvents[N]) => boolean;
        } = {},
  ): Promise<CoordinationEvents[N]> {
    const { timeoutMs, signal, where } =
      typeof timeoutOrOptions === 'number' ? { timeoutMs: timeoutOrOptions } : timeoutOrOptions;
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) return reject(signal.reason as Error);
      let timer: Timer | undefined;
      const end = (): void => {
        timer?.cancel();
        subscription[Symbol.dispose]();
        signal?.removeEventListener('abort', onAbort);
      };
      const onAbort = (): void => {
        end();
        reject(signal?.reason as Error);
      };
      const subscription = this.#listen(name, ((payload: CoordinationEvents[N]) => {
        if (where !== undefined && !where(payload)) return;
        end();
        resolve(payload);
      }) as AnyListener);
      signal?.addEventListener('abort', onAbort, { once: true });
      if (timeoutMs === undefined) return;
      timer = this.#clock.after(
        timeoutMs,
        () => {
          end();
          reject(new CoordinationError('TIMEOUT', `No ${name} within ${timeoutMs} ms`));
        },
        true,
      );
    });
  }

  /** Sees everything of the closed table, synchronously, in emission order. */
  tap(listener: (event: CoordinationEvent) => void): Disposable {
    this.#taps = [...this.#taps, listener];
    return {
      [Symbol.dispose]: () => {
        this.#taps = this.#taps.filter((tap) => tap !== listener);
      },
    };
  }

  /**
   * Everything from now on. When the reader is more than `capacity` events behind, the oldest are dropped and counted. Ends when aborted
   * or when the reader leaves its loop. @default capacity 1,024
   */
  stream(options: { readonly capacity?: number; readonly signal?: AbortSignal } = {}): EventStream {
    const { capacity = 1_024, signal } = options;
    const buffer = new Ring<CoordinationEvent>();
    let dropped = 0;
    let wake: (() => void) | undefined;
    let ended = signal?.aborted ?? false;
    const tap = this.tap((event) => {
      if (buffer.length >= capacity) {
        buffer.shift();
        dropped += 1;
      }
      buffer.push(event);
      wake?.();
    });
    const end = (): void => {
      ended = true;
      tap[Symbol.dispose]();
      signal?.removeEventListener('abort', end);
      wake?.();
    };
    if (ended) tap[Symbol.dispose]();
    signal?.addEventListener('abort', end, { once: true });
    const next = async (): Promise<IteratorResult<CoordinationEvent>> => {
      while (buffer.length === 0 && !ended) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        wake = undefined;
      }
      const value = buffer.shift();
      return value === undefined ? { done: true, value: undefined } : { done: false, value };
    };
    const finish = (): Promise<IteratorResult<CoordinationEvent>> => {
      end();
      return Promise.resolve({ done: true, value: undefined });
    };
    return {
      get dropped() {
        return dropped;
      },
      [Symbol.asyncIterator]: () => ({ next, return: finish }),
    };
  }

  /** Statistics by event name, for names that occurred or have listeners. */
  getEventStats(): Readonly<Record<string, EventStats>> {
    const stats: Record<string, EventStats> = Object.create(null) as Record<string, EventStats>;
    for (const [name, { count, lastAt, listeners }] of this.#channels) {
      if (count === 0 && listeners.length === 0) continue;
      stats[name] = { count, listeners: listeners.length, ...(lastAt === undefined ? {} : { lastAt }) };
    }
    return stats;
  }

  resetStats(): void {
    for (const channel of this.#channels.values()) {
      channel.count = 0;
      channel.lastAt = undefined;
    }
  }

  /** Removes the listeners of one event, or all listeners and taps. */
  removeAllListeners(name?: Name): void {
    if (name !== undefined) this.#channel(name).listeners = [];
    else {
      for (const channel of this.#channels.values()) channel.listeners = [];
      this.#taps = [];
    }
  }

  #deliver(name: Name, channel: Channel, payload: unknown): void {
    const { listeners } = channel;
    for (let i = 0; i < listeners.length; i++) this.#call(name, listeners[i] as AnyListener, payload);
    if (this.#taps.length > 0) {
      const at = this.#clock.wall();
      channel.lastAt = at;
      const event = { name, at, payload } as CoordinationEvent;
      for (const tap of this.#taps) this.#call(name, tap as AnyListener, event);
    }
    this.#debug?.debug(name, payload as object);
  }

  #call(name: Name, listener: AnyListener, payload: unknown): void {
    try {
      const answer = listener(payload);
      if (answer !== undefined && isPromise(answer)) {
        handled(answer.catch((error: unknown) => this.#report(name, error)));
      }
    } catch (error) {
      this.#report(name, error);
    }
  }

  #report(name: Name, error: unknown): void {
    if (name === 'listener:failed') return;
    this.emit('listener:failed', {
      event: name,
      message: error instanceof Error ? String(error.message) : describe(error),
    });
  }

  #listen(name: Name, listener: AnyListener, signal?: AbortSignal): Disposable {
    if (typeof listener !== 'function') {
      throw new CoordinationError(
        'INVALID_ARGUMENT',
        `Expected the listener of ${name} to be a function, got ${describe(listener)}`,
      );
    }
    const off = (): void => {
      signal?.removeEventListener('abort', off);
      this.off(name as EventName, listener as Listener<EventName>);
    };
    if (signal?.aborted === true) return { [Symbol.dispose]: () => undefined };
    const channel = this.#channel(name);
    channel.listeners = [...channel.listeners, listener];
    signal?.addEventListener('abort', off, { once: true });
    return { [Symbol.dispose]: off };
  }

  #channel(name: string): Channel {
    let channel = this.#channels.get(name);
    if (channel === undefined) {
      channel = { count: 0, lastAt: undefined, listeners: [] };
      this.#channels.set(name, channel);
    }
    return channel;
  }
}
