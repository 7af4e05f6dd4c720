import type {
  CoordinationEvent,
  CoordinationEvents,
  CustomEventName,
  EventName,
  EventSink,
  PayloadOf,
} from './events.ts';
import { handled, isPromise } from './awaitable.ts';
import { checkFunction, checkInteger, checkMs, checkSignal, invalid } from './check.ts';
import { CoordinationError, describe } from './errors.ts';
import { EventBuffer, type EventStream } from './event-stream.ts';
import { checkMethods, checkOptions, readOptions } from './options.ts';
import type { Clock, Logger, Timer } from './ports/runtime.ts';
import { Logger as LineLogger } from './runtime/logger.ts';
import { systemClock } from './runtime/runtime.ts';

type Name = EventName | CustomEventName;
/** What it returns is not used; a rejected promise is reported as a throw is. */
export type Listener<N> = (payload: PayloadOf<N>) => unknown;
type AnyListener = (payload: unknown) => unknown;

/** One registration; `given` is what the user passed and may name in `off`. */
interface Entry {
  readonly call: AnyListener;
  readonly given: unknown;
  /** Of a part of the mesh: `removeAllListeners` doesn't mean it. */
  readonly kept: boolean;
  detach(): void;
}

interface Channel {
  /** Occurrences ever. */
  count: number;
  /** Of these, those before the statistics were reset. */
  before: number;
  lastAt: number | undefined;
  /** Replaced, never changed: a listener that adds or removes listeners doesn't disturb the emission under way. */
  listeners: readonly Entry[];
  /** Whether anybody would see an event: a listener, a tap or the debug log. */
  seen: boolean;
}

const UNAVAILABLE: Disposable = { [Symbol.dispose]: () => undefined };

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
  /** ms since 1970 of the last one that a tap, a stream or the debug log saw: a clock is not read for listeners alone. */
  readonly lastAt?: number;
}

/**
 * Typed bus. Listeners run synchronously, in the order they were added. One that throws or rejects is reported as `listener:failed` and
 * disturbs neither the emitter nor the next listener (G5); no return value is used.
 */
export class EventBus implements EventSink {
  /** An object without prototype: looked up in half the time of a Map, and `__proto__` is a name like any other. */
  readonly #channels = Object.create(null) as Record<string, Channel | undefined>;
  readonly #debug: Logger | undefined;
  readonly #clock: Clock;
  #taps: readonly AnyListener[] = [];
  /** How what waits for events is ended. */
  readonly #ends = new Set<() => void>();
  #isClosed = false;
  readonly #log: AnyListener = (event) => {
    const { name, payload } = event as CoordinationEvent;
    this.#debug?.debug(name, payload);
  };

  /** `true` or `{ debug: true }` logs every event, to stderr unless a logger is given. */
  constructor(options: boolean | EventBusOptions = {}) {
    const { debug, logger, clock } = readBus(typeof options === 'boolean' ? { debug: options } : options);
    this.#clock = clock ?? systemClock();
    if (debug === true) this.#debug = logger ?? new LineLogger({ level: 'debug' });
  }

  /** Hands `payload` to every listener. Returns when all have been called; never throws because of them. */
  emit<N extends EventName>(name: N, payload: CoordinationEvents[N]): void;
  emit(name: CustomEventName, payload: unknown): void;
  emit(name: Name, payload: unknown): void {
    const channel = this.#known(name) ?? this.#open(name);
    channel.count += 1;
    if (channel.seen) this.#deliver(name, channel, payload);
  }

  /** False when nobody would see the event; then it is counted here, so that the emitter can skip it altogether. */
  wants(name: Name): boolean {
    return isWanted(this.#known(name) ?? this.#open(name));
  }

  /** `wants` of one event without its look-up. @internal */
  wanting(name: Name): () => boolean {
    const channel = this.#known(name) ?? this.#open(name);
    return () => isWanted(channel);
  }

  /** Listens until disposed, aborted or `off`. */
  on<N extends Name>(
    name: N,
    listener: Listener<N>,
    options: { readonly signal?: AbortSignal } = {},
  ): Disposable {
    const given = checkOptions('on', options, ['signal']);
    const { signal } = given;
    return this.#listen(name, listener, listener as AnyListener, signal);
  }

  /** Listens as {@link on} does until disposed, also when `removeAllListeners` removes the listeners of users: for what counts events. */
  keep<N extends Name>(name: N, listener: Listener<N>): Disposable {
    return this.#listen(name, listener, listener as AnyListener, undefined, true);
  }

  /** Listens to the next event only, also when that is emitted again from inside its own emission. */
  once<N extends Name>(name: N, listener: Listener<N>): Disposable {
    let called = false;
    const subscription = this.#listen(name, listener, (payload) => {
      if (called) return undefined;
      called = true;
      subscription[Symbol.dispose]();
      return listener(payload as PayloadOf<N>);
    });
    return subscription;
  }

  /** Removes one registration of the listener; unknown ones are ignored. One under way is still called. */
  off<N extends Name>(name: N, listener: Listener<N>): void {
    this.#known(name)
      ?.listeners.find((entry) => entry.given === listener)
      ?.detach();
  }

  /** Listens to the payloads for which `filter` holds. A filter that throws counts as a failed listener. */
  onFiltered<N extends Name>(
    name: N,
    filter: (payload: PayloadOf<N>) => boolean,
    listener: Listener<N>,
  ): Disposable {
    checkFunction(filter, 'the filter');
    return this.#listen(name, listener, (payload) =>
      passes(filter, payload as PayloadOf<N>) ? listener(payload as PayloadOf<N>) : undefined,
    );
  }

  /**
   * The next payload of this event (for which `where` holds).
   * @throws TIMEOUT after `timeoutMs` (default: waits for ever); `signal.reason` when aborted; STOPPED when the bus is closed.
   */
  waitFor<N extends Name>(
    name: N,
    timeoutOrOptions:
      | number
      | {
          readonly timeoutMs?: number;
          readonly signal?: AbortSignal;
          readonly where?: (payload: PayloadOf<N>) => boolean;
        } = {},
  ): Promise<PayloadOf<N>> {
    const given = checkOptions<Exclude<typeof timeoutOrOptions, number>>(
      'waitFor',
      typeof timeoutOrOptions === 'number' ? { timeoutMs: timeoutOrOptions } : timeoutOrOptions,
      ['timeoutMs', 'signal', 'where'],
    );
    const { timeoutMs, signal, where } = given;
    if (timeoutMs !== undefined) checkMs(timeoutMs, 'timeoutMs');
    if (where !== undefined) checkFunction(where, 'where');
    checkSignal(signal, 'signal');
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) return reject(signal.reason as Error);
      if (this.#isClosed) return reject(closed(name));
      let timer: Timer | undefined;
      const end = (): void => {
        timer?.cancel();
        this.#ends.delete(onClose);
        subscription[Symbol.dispose]();
        signal?.removeEventListener('abort', onAbort);
      };
      const onAbort = (): void => {
        end();
        reject(signal?.reason as Error);
      };
      const onClose = (): void => {
        end();
        reject(closed(name));
      };
      const listener = (payload: unknown): void => {
        if (where !== undefined && !passes(where, payload as PayloadOf<N>)) return;
        end();
        resolve(payload as PayloadOf<N>);
      };
      const subscription = this.#listen(name, listener, listener);
      this.#ends.add(onClose);
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

  /** Sees everything, `custom:` events too, synchronously, in emission order. */
  tap(listener: (event: CoordinationEvent) => void): Disposable {
    checkFunction(listener, 'the listener of tap');
    const tap: AnyListener = (event) => listener(event as CoordinationEvent);
    this.#setTaps([...this.#taps, tap]);
    return { [Symbol.dispose]: () => this.#setTaps(this.#taps.filter((other) => other !== tap)) };
  }

  /**
   * Everything from now on. When the reader is more than `capacity` events behind, the oldest are dropped and counted. Ends when aborted,
   * when the bus is closed, or when the reader leaves its loop. @default capacity 1,024
   */
  stream(options: { readonly capacity?: number; readonly signal?: AbortSignal } = {}): EventStream {
    const given = checkOptions('stream', options, ['capacity', 'signal']);
    const { capacity = 1_024, signal } = given;
    checkInteger(capacity, 'capacity', 1);
    checkSignal(signal, 'signal');
    const buffer = new EventBuffer(capacity, () => {
      tap[Symbol.dispose]();
      this.#ends.delete(end);
      signal?.removeEventListener('abort', end);
    });
    const tap = this.tap((event) => buffer.add(event));
    const end = (): void => buffer.end();
    if (this.#isClosed || signal?.aborted === true) end();
    else {
      this.#ends.add(end);
      signal?.addEventListener('abort', end, { once: true });
    }
    return buffer;
  }

  /**
   * Nothing is to come any more: what waits for an event rejects with STOPPED, and streams end. Listeners stay. A manager closes the bus
   * that it made at the end of its shutdown. Idempotent.
   */
  close(): void {
    this.#isClosed = true;
    for (const end of [...this.#ends]) end();
  }

  /** How often this event has occurred, also when nobody listened; never goes back. For whoever needs no more than the number. */
  count(name: Name): number {
    return this.#known(name)?.count ?? 0;
  }

  /** Statistics by event name, for names that occurred or have listeners. */
  getEventStats(): Readonly<Record<string, EventStats>> {
    const stats: Record<string, EventStats> = Object.create(null) as Record<string, EventStats>;
    for (const [name, channel] of Object.entries(this.#channels)) {
      const { before, lastAt, listeners } = channel as Channel;
      const count = (channel as Channel).count - before;
      if (count === 0 && listeners.length === 0) continue;
      stats[name] = { count, listeners: listeners.length, ...(lastAt === undefined ? {} : { lastAt }) };
    }
    return stats;
  }

  resetStats(): void {
    for (const channel of this.#opened()) {
      channel.before = channel.count;
      channel.lastAt = undefined;
    }
  }

  /** Removes the listeners of one event, or all listeners and taps. What was added with {@link keep} stays: metrics go on counting. */
  removeAllListeners(name?: Name): void {
    const channels = name === undefined ? this.#opened() : [this.#known(name)];
    for (const channel of channels) {
      for (const entry of channel?.listeners ?? []) if (!entry.kept) entry.detach();
    }
    if (name === undefined) this.#setTaps([]);
  }

  #deliver(name: Name, channel: Channel, payload: unknown): void {
    const { listeners } = channel;
    for (let i = 0; i < listeners.length; i++) this.#call(name, (listeners[i] as Entry).call, payload);
    if (this.#taps.length > 0 || this.#debug !== undefined) this.#show(name, channel, payload);
  }

  #show(name: Name, channel: Channel, payload: unknown): void {
    const at = this.#clock.wall();
    channel.lastAt = at;
    const event = { name, at, payload };
    for (const tap of this.#taps) this.#call(name, tap, event);
    if (this.#debug !== undefined) this.#call(name, this.#log, event);
  }

  #call(name: Name, listener: AnyListener, payload: unknown): void {
    try {
      const answer = listener(payload);
      if (answer !== undefined && isPromise(answer)) {
        answer.then(undefined, (error: unknown) => this.#report(name, error));
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

  #listen(name: Name, given: unknown, call: AnyListener, signal?: AbortSignal, kept = false): Disposable {
    if (typeof name !== 'string') throw noName(name);
    checkFunction(given, `the listener of ${name}`);
    checkSignal(signal, 'signal');
    if (signal?.aborted === true) return UNAVAILABLE;
    const channel = this.#known(name) ?? this.#open(name);
    const detach = (): void => {
      signal?.removeEventListener('abort', detach);
      channel.listeners = channel.listeners.filter((other) => other !== entry);
      channel.seen = this.#isSeen(channel);
    };
    const entry: Entry = { call, given, kept, detach };
    channel.listeners = [...channel.listeners, entry];
    channel.seen = true;
    signal?.addEventListener('abort', detach, { once: true });
    return { [Symbol.dispose]: detach };
  }

  #known(name: unknown): Channel | undefined {
    return typeof name === 'string' ? this.#channels[name] : undefined;
  }

  #open(name: string): Channel {
    if (typeof name !== 'string') throw noName(name);
    const channel: Channel = { count: 0, before: 0, lastAt: undefined, listeners: [], seen: false };
    channel.seen = this.#isSeen(channel);
    this.#channels[name] = channel;
    return channel;
  }

  #opened(): readonly Channel[] {
    return Object.values(this.#channels) as Channel[];
  }

  #isSeen(channel: Channel): boolean {
    return channel.listeners.length > 0 || this.#taps.length > 0 || this.#debug !== undefined;
  }

  #setTaps(taps: readonly AnyListener[]): void {
    this.#taps = taps;
    for (const channel of this.#opened()) channel.seen = this.#isSeen(channel);
  }
}

function isWanted(channel: Channel): boolean {
  if (channel.seen) return true;
  channel.count += 1;
  return false;
}

function readBus(given: EventBusOptions): EventBusOptions {
  const { debug = false, logger, clock } = readOptions('events', given);
  if (typeof debug !== 'boolean') {
    throw new CoordinationError(
      'INVALID_OPTION',
      `Expected \`debug\` to be true or false, got ${describe(debug)}`,
    );
  }
  return {
    debug,
    ...(logger === undefined ? {} : { logger: checkMethods('logger', logger, ['debug']) }),
    ...(clock === undefined ? {} : { clock: checkMethods('clock', clock, ['wall', 'after']) }),
  };
}

function noName(name: unknown): CoordinationError {
  return invalid(`Expected the event to be a name, got ${describe(name)}`);
}

/** A promise is no answer: nobody would wait for it, nor hear of its rejection. */
function passes<P>(filter: (payload: P) => unknown, payload: P): boolean {
  const answer = filter(payload);
  if (typeof answer === 'object' && isPromise(answer)) {
    handled(answer);
    throw invalid('A filter must answer at once, not with a promise');
  }
  return Boolean(answer);
}

function closed(name: Name): CoordinationError {
  return new CoordinationError('STOPPED', `No ${name} will come: the event bus is closed`);
}
