import { deepStrictEqual } from 'node:assert/strict';
import { isPromise } from '../core/awaitable.ts';
import { CoordinationError, isCoordinationError } from '../core/errors.ts';
import type { Backend } from '../core/ports/backend.ts';
import type { Clock, Random } from '../core/ports/runtime.ts';
import type { Awaitable, Operation } from '../core/ports/words.ts';
import { createHastyClock } from './hasty-clock.ts';

/**
 * Backends that answer as badly as a backend may: late, not at all, twice, without hints. A suite that is green on a backend must be
 * green through each of them.
 */

const PORTS = ['sessions', 'tasks', 'locks', 'messages', 'state'] as const;
type PortName = (typeof PORTS)[number];

/** One call of a port, on its way. */
export interface Call {
  readonly port: PortName;
  readonly method: string;
  /** Whose call it is: the session of its operation, or its first argument where that is a session. */
  readonly session: number | undefined;
  /** Set when it mutates. */
  readonly op: Operation | undefined;
  readonly args: readonly unknown[];
  /** Carries it out; each time anew. */
  readonly send: () => Awaitable<unknown>;
}

/** How a wrapper answers a call. */
type Interceptor = (call: Call) => Awaitable<unknown>;

/** Methods whose calls of one session a port promises to carry out in order. */
const IN_ORDER: ReadonlySet<string> = new Set(['messages.publish', 'messages.subscribe']);
/** Methods whose first argument is a session, not an operation. */
const BY_SESSION: ReadonlySet<string> = new Set([
  'sessions.beat',
  'sessions.close',
  'locks.keep',
  'locks.publish',
]);

export interface DelayOptions {
  readonly random: Random;
  /** Longest travel one way. */
  readonly maxMs: number;
  /**
   * Where the travel passes. It must go on by itself: a test clock, which somebody moves between two calls, stands still while a call
   * travels. @default a hasty clock, which takes no real time
   */
  readonly clock?: Clock;
}

/**
 * Every call travels for a random time and so does its answer; calls overtake each other, but those that the port promises to carry out
 * in order stay so. `stop` rejects what is under way with STOPPED.
 */
export function delayed<B extends Backend>(backend: B, options: DelayOptions): B {
  const { clock = createHastyClock(), random, maxMs } = options;
  const lines = new Map<string, Promise<unknown>>();
  const pending = new Set<(error: Error) => void>();
  let stopped: CoordinationError | undefined;
  const travel = (): Promise<void> =>
    new Promise((resolve, reject) => {
      if (stopped !== undefined) {
        reject(stopped);
        return;
      }
      pending.add(reject);
      clock.after(
        random.next() * maxMs,
        () => {
          pending.delete(reject);
          resolve();
        },
        true,
      );
    });
  const arrive = async ({ send }: Call): Promise<unknown> => {
    await travel();
    return send();
  };
  const { capabilities } = backend as Partial<Backend>;
  const inOrder = new Set([...IN_ORDER, ...(capabilities?.ordered === true ? ['tasks.enqueue'] : [])]);
  const inLine = (call: Call): Promise<unknown> => {
    const line = `${call.port} ${call.session}`;
    const before = lines.get(line) ?? Promise.resolve();
    const arrived = before.then(() => arrive(call));
    lines.set(
      line,
      arrived.catch(() => undefined),
    );
    return arrived;
  };
  const wrapped = intercept(backend, async (call) => {
    const outcome = await settle(() => (inOrder.has(nameOf(call)) ? inLine(call) : arrive(call)));
    await travel();
    if ('error' in outcome) throw outcome.error;
    return outcome.value;
  });
  return {
    ...wrapped,
    stop: async () => {
      stopped ??= new CoordinationError('STOPPED', 'The backend is stopped');
      for (const reject of pending) reject(stopped);
      pending.clear();
      await backend.stop();
    },
  };
}

/** A backend whose replies were cut, and which ones. */
export type ReplyCutting<B> = B & {
  /** Replies cut so far by `port.method`. */
  readonly cuts: ReadonlyMap<string, number>;
};

/**
 * Carries out the first call of each method of each session and loses its answer: the caller gets OUTCOME_UNKNOWN. The answers to all
 * later calls, the repeated one too, arrive.
 */
export function replyCutting<B extends Backend>(backend: B): ReplyCutting<B> {
  const cut = new Set<string>();
  const cuts = new Map<string, number>();
  const wrapped = intercept(backend, (call) => {
    const answer = call.send();
    const name = nameOf(call);
    const once = `${name} ${call.session}`;
    if (cut.has(once)) return answer;
    cut.add(once);
    cuts.set(name, (cuts.get(name) ?? 0) + 1);
    const lost = (): never => {
      throw new CoordinationError('OUTCOME_UNKNOWN', `The reply to ${name} was cut`);
    };
    return isPromise(answer) ? answer.then(lost) : lost();
  });
  return { ...wrapped, cuts };
}

/** Repeats a call whose outcome is unknown with the same arguments, and so the same operation, until it is answered. */
export function retrying<B extends Backend>(backend: B, maxTries = 10): B {
  const attempt = (call: Call, left: number): Awaitable<unknown> => {
    const again = (error: unknown): Awaitable<unknown> => {
      if (left <= 1 || !isCoordinationError(error, 'OUTCOME_UNKNOWN')) throw error;
      return attempt(call, left - 1);
    };
    try {
      const answer = call.send();
      return isPromise(answer) ? answer.catch(again) : answer;
    } catch (error) {
      return again(error);
    }
  };
  return intercept(backend, (call) => attempt(call, maxTries));
}

/** Drops all hints: whoever relies on one waits for ever (G4). */
export function hintless<B extends Backend>(backend: B): B {
  return {
    ...intercept(backend, ({ send }) => send()),
    onHint: () => ({ [Symbol.dispose]: () => undefined }),
  };
}

/** Carries out every mutating call twice with the same operation and fails when the second answer differs from the first (G1). */
export function duplicating<B extends Backend>(backend: B): B {
  const twice = async ({ send }: Call): Promise<unknown> => {
    const first = await settle(send);
    const second = await settle(send);
    if ('error' in first) {
      deepStrictEqual(codeOf(second), codeOf(first));
      throw first.error;
    }
    deepStrictEqual(second, first);
    return first.value;
  };
  return intercept(backend, (call) => (call.op === undefined ? call.send() : twice(call)));
}

/**
 * A copy of a backend whose port methods all go through `through`.
 * @param given what becomes of each argument first
 */
export function intercept<B extends Backend>(
  backend: B,
  through: Interceptor,
  given: (argument: unknown) => unknown = (argument) => argument,
): B {
  const ports: Partial<Record<PortName, object>> = {};
  for (const name of PORTS) {
    const port = backend[name];
    if (port !== undefined) ports[name] = interceptPort(name, port, through, given);
  }
  return {
    ...backend,
    ...ports,
    start: (runtime) => backend.start(runtime),
    check: () => backend.check(),
    stop: () => backend.stop(),
    onHint: (interest, listener) => backend.onHint(interest, listener),
  };
}

function interceptPort<P extends object>(
  name: PortName,
  port: P,
  through: Interceptor,
  given: (argument: unknown) => unknown,
): P {
  const methods = new Map<string | symbol, unknown>();
  return new Proxy(port, {
    get(target, key) {
      // Narrow ways into a store of this process: who answers late or twice has none.
      if (key === 'quick' || key === 'live') return undefined;
      const member: unknown = Reflect.get(target, key, target);
      if (typeof member !== 'function' || typeof key !== 'string') return member;
      let method = methods.get(key);
      if (method === undefined) {
        method = (...all: readonly unknown[]) => {
          const args = all.map(given);
          return through({
            port: name,
            method: key,
            session: sessionOf(name, key, args[0]),
            op: isOperation(args[0]) ? args[0] : undefined,
            args,
            send: () => Reflect.apply(member, target, args) as Awaitable<unknown>,
          });
        };
        methods.set(key, method);
      }
      return method;
    },
  });
}

function sessionOf(port: PortName, method: string, first: unknown): number | undefined {
  if (isOperation(first)) return first.session;
  return BY_SESSION.has(`${port}.${method}`) && typeof first === 'number' ? first : undefined;
}

function isOperation(value: unknown): value is Operation {
  return typeof value === 'object' && value !== null && 'session' in value && 'sequence' in value;
}

function nameOf({ port, method }: Call): string {
  return `${port}.${method}`;
}

type Outcome = { readonly value: unknown } | { readonly error: unknown };

async function settle(send: () => Awaitable<unknown>): Promise<Outcome> {
  try {
    return { value: await send() };
  } catch (error) {
    return { error };
  }
}

function codeOf(outcome: Outcome): unknown {
  return 'error' in outcome && isCoordinationError(outcome.error) ? outcome.error.code : outcome;
}
