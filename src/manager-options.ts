import { type BackendPorts, portsOf } from './backend-checks.ts';
import { memory } from './backends/memory/memory.ts';
import type { CircuitBreakerOptions } from './circuit-breaker/breaker-rules.ts';
import { CoordinationError, describe } from './core/errors.ts';
import { EventBus } from './core/event-bus.ts';
import { OPTIONS, type Part } from './core/option-table.ts';
import {
  checkMethods,
  readOptions,
  refuseMisplaced,
  refuseMisplacedIn,
  type Resolved,
  resolveOptions,
} from './core/options.ts';
import type { Backend } from './core/ports/backend.ts';
import type { Clock, Ids, Logger, Random, Runtime } from './core/ports/runtime.ts';
import { createIds } from './core/runtime/ids.ts';
import { asLogger, type PinoLogger } from './core/runtime/pino-logger.ts';
import { createRandom } from './core/runtime/random.ts';
import { createRuntime, systemClock } from './core/runtime/runtime.ts';
import { checkAllow } from './core/start-problems.ts';
import { type Environment, readEnvironment } from './environment.ts';
import type { MessagingOptions } from './messaging/types.ts';
import type { ResourceOptions } from './resources/resource-manager.ts';
import type { SchedulerOptions } from './scheduler/scheduler.ts';
import type { WorkStealingOptions } from './work-stealing/work-stealing-coordinator.ts';

/** The five names of the predecessor's config; the same object may carry the options of the parts. */
export interface LegacyConfig {
  /** Retries after the first attempt: 3 → `retry.maxAttempts` 4; both given → INVALID_OPTION. @default 3 */
  readonly maxRetries?: number;
  /** ms before the first retry; doubles with each. @default 1,000 */
  readonly retryDelay?: number;
  /** @default true */
  readonly deadlockDetection?: boolean;
  /** Longest wait for a lock, ms. @default 30,000 */
  readonly resourceTimeout?: number;
  /** Reply deadline, and expiry of undelivered messages, ms. @default 10,000 */
  readonly messageTimeout?: number;
}

/** The lease of this process, which carries its tasks, locks and memberships. */
export interface SessionOptions {
  /** ms. @default 30,000 */
  readonly leaseMs?: number;
  /** Where it is renewed. @default 'worker' */
  readonly thread?: 'worker' | 'main';
  /** ms. @default 300,000 */
  readonly stuckMs?: number;
}

/** Everything a manager takes; each part's options have their own table in the reference. */
export interface CoordinationOptions extends LegacyConfig {
  /** @default memory() */
  readonly backend?: Backend;
  readonly events?: EventBus;
  /** `(message, facts)` as console and winston take them, or pino. @default nothing is logged */
  readonly logger?: Logger | PinoLogger;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly ids?: Ids;
  /** Seeds the randomness: same seed, same decisions. @default a random one */
  readonly seed?: number | string;
  /** Where environment variables are read. @default process.env */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly scheduling?: Omit<SchedulerOptions, 'maxRetries' | 'retryDelay'>;
  readonly resources?: ResourceOptions;
  readonly messaging?: MessagingOptions;
  /** `false`: tasks stay where they were assigned. */
  readonly workStealing?: WorkStealingOptions | false;
  readonly breakers?: CircuitBreakerOptions;
  /** `false`: nothing is counted beyond the events. */
  readonly metrics?: { readonly intervalMs?: number; readonly historyLength?: number } | false;
  readonly session?: SessionOptions;
  readonly shutdown?: { readonly drainMs?: number; readonly then?: 'abort' | 'release' };
  readonly health?: { readonly intervalMs?: number; readonly stuckMs?: number };
  /** Start in spite of these problems that the backend's start-up checks would refuse: codes of the [table](backends.md#what-a-start-looks-at). */
  readonly allow?: readonly string[];
}

export interface ManagerSettings {
  readonly options: CoordinationOptions;
  readonly backend: Backend;
  readonly ports: BackendPorts;
  readonly allowed: readonly string[];
  readonly runtime: Runtime;
  readonly events: EventBus;
  /** Whether the bus was made here. */
  readonly ownsEvents: boolean;
  readonly environment: Environment;
  readonly session: Resolved<'session'>;
  readonly shutdown: Resolved<'shutdown'>;
  readonly health: Resolved<'health'>;
}

/** Checks a manager's options and joins them with the positional arguments. @throws INVALID_OPTION, NOT_SUPPORTED for a backend that lacks a port */
export function managerSettings(
  given: CoordinationOptions | undefined,
  events: EventBus | undefined,
  logger: Logger | PinoLogger | undefined,
): ManagerSettings {
  const options = readParts(given ?? {});
  resolveOptions('manager', options);
  refuseTwice('events', options.events, events);
  refuseTwice('logger', options.logger, logger);
  checkGiven(options, events, logger);
  const log = options.logger ?? logger;
  const clock = options.clock ?? systemClock();
  const random = options.random ?? (options.seed === undefined ? undefined : createRandom(options.seed));
  const runtime = createRuntime({
    clock,
    random,
    ids: options.ids ?? (random === undefined ? undefined : createIds(clock, random.fork('ids'))),
    logger: log === undefined ? undefined : asLogger(log),
  });
  const backend = options.backend ?? memory();
  return {
    options,
    backend,
    ports: portsOf(backend),
    allowed: checkAllow(options.allow, backend.problems),
    runtime,
    events: options.events ?? events ?? new EventBus({ clock }),
    ownsEvents: options.events === undefined && events === undefined,
    environment: readEnvironment(options.env === undefined ? process.env : readOptions('env', options.env)),
    session: resolveOptions('session', options.session, true),
    shutdown: resolveOptions('shutdown', options.shutdown, true),
    health: resolveOptions('health', options.health, true),
  };
}

/** The options and those of each part, read once: nothing of the caller's runs afterwards. */
function readParts(given: CoordinationOptions): CoordinationOptions {
  const options: Record<string, unknown> = { ...readOptions('manager', given) };
  refuseMisplaced(options);
  for (const part of Object.keys(OPTIONS) as Part[]) {
    const own = options[part];
    if (own === undefined || own === null || (own === false && OFF.has(part))) continue;
    const read = readOptions(part, own);
    refuseMisplacedIn(part, read);
    options[part] = read;
  }
  return options;
}

/** Parts that may be switched off. */
const OFF: ReadonlySet<string> = new Set(['workStealing', 'metrics']);
const LOGGER = ['debug', 'info', 'warn', 'error'];

/** What is used as it is must be able to do what will be asked of it. */
function checkGiven(options: CoordinationOptions, events: unknown, logger: unknown): void {
  checkMethods('clock', options.clock, ['mono', 'wall', 'after', 'soon']);
  checkMethods('random', options.random, ['next', 'fork']);
  checkMethods('ids', options.ids, ['next']);
  checkMethods('logger', options.logger ?? logger, LOGGER);
  checkMethods('events', options.events ?? events, ['emit', 'wants', 'on']);
  checkMethods('backend', options.backend, ['start', 'stop', 'check', 'onHint']);
  const { seed } = options;
  if (seed !== undefined && typeof seed !== 'string' && typeof seed !== 'number')
    throw refused('seed', 'a number or a string', seed);
}

function refused(name: string, wanted: string, value: unknown): CoordinationError {
  return new CoordinationError(
    'INVALID_OPTION',
    `Expected \`${name}\` to be ${wanted}, got ${describe(value)}`,
  );
}

function refuseTwice(name: string, a: unknown, b: unknown): void {
  if (a === undefined || b === undefined || a === b) return;
  throw new CoordinationError(
    'INVALID_OPTION',
    `\`${name}\` is given twice: in the options and as an argument`,
  );
}
