import { refuseProblems } from './backend-checks.ts';
import type { Parts } from './compose-parts.ts';
import { CoordinationError, toStoredError } from './core/errors.ts';
import type { BackendReport } from './core/ports/backend.ts';
import { healthChecks } from './health-checks.ts';
import { type HealthEndpoint, openHealthEndpoint } from './health-endpoint.ts';
import { HealthMonitor } from './health.ts';
import { resolveOptions } from './core/options.ts';
import type { Order } from './core/ports/sessions.ts';
import type { LazyOperations } from './lazy-operations.ts';
import type { ManagerSettings } from './manager-options.ts';
import type { AnyTasks } from './scheduler/types.ts';
import { SessionKeeper } from './session-keeper.ts';
import { sessionReport } from './session-report.ts';

/** How long the store may take to answer when something stops and no handler runs any more, ms; everything together. */
const STORE_MS = 5_000;
/** What each step has that is left to a store which has not answered for so long, or so late: of the time of all, this is kept for two. */
const CLOSE_MS = 500;
/** What each step has when all time is used up: for what it does at once. */
const AT_ONCE_MS = 10;

type State = 'new' | 'starting' | 'ready' | 'stopping' | 'stopped';

type Tasks = Pick<
  Parts<AnyTasks>['tasks'],
  'getSchedulingMetrics' | 'loads' | 'obey' | 'overdueMs' | 'sessionLost' | 'shutdown' | 'wake'
>;
/** The parts that are started and stopped. */
export type LivingParts = Omit<Parts<AnyTasks>, 'tasks' | 'graph'> & { readonly tasks: Tasks };

/** Starts and stops the parts of a manager in order: the backend, the session that carries everything, the parts that go by themselves. */
export class Lifecycle {
  readonly health: HealthMonitor;
  readonly #settings: ManagerSettings;
  readonly #operations: LazyOperations;
  readonly #parts: LivingParts;
  readonly #session: SessionKeeper;
  readonly #graceMs: number;
  /** The backend was started here, so it is to be stopped. */
  #connected = false;
  #state: State = 'new';
  #starting: PromiseWithResolvers<BackendReport> | undefined;
  /** When the shutdown is over, whatever the store does, mono ms. */
  #endsAt: number | undefined;
  /** It was waited for in vain: nobody else waits as long. */
  #isStoreGone = false;
  #stopping: Promise<void> | undefined;
  #endpoint: HealthEndpoint | undefined;
  /** Why this build may not go on: the store told it to leave. */
  #outdated: string | undefined;

  constructor(settings: ManagerSettings, operations: LazyOperations, parts: LivingParts) {
    this.#settings = settings;
    this.#operations = operations;
    this.#parts = parts;
    const { backend, runtime, events, health, options } = settings;
    this.#graceMs = resolveOptions('scheduling', options.scheduling).graceMs;
    this.#session = new SessionKeeper({
      backend,
      sessions: settings.ports.sessions,
      runtime,
      events,
      options: settings.session,
      report: () => sessionReport(parts.tasks),
      use: (one) => operations.use(one),
      obey: (orders) => this.#obey(orders),
      held: () => {
        const { running, queued } = parts.tasks.getSchedulingMetrics();
        return { heldClaims: running + queued, heldLocks: parts.locks.getAllocations().size };
      },
      lost: () => {
        // First, for what ends with its locks asks why.
        parts.tasks.sessionLost();
        parts.locks.sessionLost();
      },
      renewed: () => this.#rejoin(),
    });
    if (backend.capabilities.shared) operations.renewBy(this.#session);
    const notReady = (): string | undefined =>
      this.isReady ? this.#outdated : `the mesh is ${this.#state === 'new' ? 'not started' : this.#state}`;
    this.health = new HealthMonitor(
      healthChecks({
        ...parts,
        notReady,
        backend,
        heardAgoMs: () => operations.heardAgoMs(),
        session: this.#session,
        stuckMs: health.stuckMs,
      }),
      { clock: runtime.clock, events, intervalMs: health.intervalMs, backend: backend.name },
    );
  }

  get isReady(): boolean {
    return this.#state === 'ready';
  }

  /** Port of the health endpoint, if one is open. */
  get healthPort(): number | undefined {
    return this.#endpoint?.port;
  }

  /** Connects and starts everything. Idempotent; one that failed may be tried again. @throws BACKEND_UNAVAILABLE, SCHEMA_MISMATCH, STOPPED */
  start(): Promise<BackendReport> {
    if (this.#isEnding) {
      return Promise.reject(
        new CoordinationError('STOPPED', 'A mesh that was shut down cannot be started again', {
          hint: 'Create a new one.',
        }),
      );
    }
    if (this.#starting === undefined) {
      this.#starting = Promise.withResolvers();
      this.#start().then(this.#starting.resolve, this.#starting.reject);
    }
    return this.#starting.promise;
  }

  /**
   * Drains the parts and closes everything, in `drainMs` and the grace of handlers and 5 s at most, whether the store answers or not.
   * One that doesn't is given up 5 s after the last handler. Idempotent.
   */
  stop(reason: string): Promise<void> {
    this.#stopping ??= this.#stop(reason);
    return this.#stopping;
  }

  /** @throws STOPPED when it is being shut down */
  refuseEnding(): void {
    if (this.#isEnding) throw new CoordinationError('STOPPED', 'The mesh has been shut down');
  }

  /** Why a call can't be taken now. */
  refused(): Promise<never> {
    try {
      this.refuseEnding();
      void this.#operations.session;
    } catch (error) {
      return Promise.reject(error);
    }
    return Promise.reject(
      new CoordinationError('NOT_STARTED', 'The mesh has not been started', {
        hint: 'Call `await manager.initialize()` first.',
      }),
    );
  }

  /** Reports what fails of what nobody waits for; at the end that is no news. */
  watch(part: string, done: Promise<void>): void {
    done.catch((error: unknown) => {
      if (!this.#isEnding) this.#report(part, error);
    });
  }

  #obey(orders: readonly Order[]): void {
    this.#parts.tasks.obey(orders);
    if (orders.some(({ kind }) => kind === 'abort-wait')) this.#parts.locks.askNow();
    const upgrade = orders.find(({ kind }) => kind === 'upgrade');
    if (upgrade?.kind !== 'upgrade' || this.#outdated !== undefined) return;
    const why = `schema asks for writers of level ${upgrade.oldestWriter}: this build takes no more tasks`;
    this.#outdated = `the ${why}`;
    const message = `The ${why}`;
    this.#settings.runtime.logger.error(message, { code: 'SCHEMA_MISMATCH' });
    this.#settings.events.emit('system:error', { part: 'session', code: 'SCHEMA_MISMATCH', message });
  }

  get #isEnding(): boolean {
    return this.#state === 'stopping' || this.#state === 'stopped';
  }

  async #start(): Promise<BackendReport> {
    this.#state = 'starting';
    this.#isStoreGone = false;
    try {
      const report = await this.#connect();
      this.#refuseIfStopping();
      this.#state = 'ready';
      await this.#begin();
      return report;
    } catch (error) {
      // Also one that is answered after the end: it is undone then.
      if (!this.#isEnding) this.#state = 'starting';
      await this.#rest();
      await this.#disconnect();
      if (!this.#isEnding) {
        this.#state = 'new';
        this.#starting = undefined;
      }
      throw error;
    }
  }

  /** What goes by itself from now on. */
  async #begin(): Promise<void> {
    const { tasks, metrics, stealing } = this.#parts;
    tasks.wake();
    metrics?.start();
    await stealing?.initialize();
    this.health.start();
    this.#settings.events.emit('system:ready', { backend: this.#settings.backend.name });
  }

  async #rest(): Promise<void> {
    this.health.stop();
    await this.#attempt('stealing', () => this.#parts.stealing?.shutdown(), this.#leftMs(2 * CLOSE_MS));
  }

  async #connect(): Promise<BackendReport> {
    const { backend, runtime, allowed, environment } = this.#settings;
    const { tasks, messages } = this.#parts;
    const report = await backend.start(runtime, allowed);
    this.#connected = true;
    refuseProblems(report, allowed, runtime.logger);
    this.#refuseIfStopping();
    await this.#session.open();
    this.#refuseIfStopping();
    if (environment.healthPort !== undefined) {
      this.#endpoint = await openHealthEndpoint(environment.healthPort, () => this.health.check());
    }
    // What a start that failed has announced went with its session.
    await messages.rejoin();
    // Those that were registered before there was a mailbox to give them.
    for (const { id } of tasks.loads()) await messages.agentJoined(id);
    return report;
  }

  /** Gives back what a start has opened, in whatever step it ended; a start and a stop may both come here. */
  async #disconnect(): Promise<void> {
    this.#parts.metrics?.stop();
    await this.#attempt('session', () => this.#session.close(), this.#storeMs(CLOSE_MS));
    // After the session: what the store was about to answer has been answered by now.
    this.#operations.end(this.#isEnding);
    const connected = this.#connected;
    this.#connected = false;
    if (connected) await this.#attempt('backend', () => this.#settings.backend.stop(), this.#storeMs());
    const endpoint = this.#endpoint;
    this.#endpoint = undefined;
    await this.#attempt('health endpoint', () => endpoint?.close());
  }

  /** The session is another one: what the former carried is stored anew. */
  #rejoin(): void {
    this.watch('messaging', this.#parts.messages.rejoin());
    this.#parts.tasks.wake();
  }

  async #stop(reason: string): Promise<void> {
    const { runtime, shutdown, events, ownsEvents } = this.#settings;
    this.#endsAt = runtime.clock.mono() + shutdown.drainMs + this.#graceMs + STORE_MS;
    this.#state = 'stopping';
    if (await this.#hasStarted()) events.emit('system:shutdown', { reason });
    // Also what never started: a start that failed may have left agents that poll.
    await Promise.all([this.#rest(), this.#drain()]);
    this.#parts.breakers.shutdown();
    this.#parts.conflicts.stop();
    await this.#disconnect();
    this.#state = 'stopped';
    // One that was given to the mesh may serve others too.
    if (ownsEvents) events.close();
  }

  /** Whether the start, one that is still under way included, came to its end; one that does not is given up. */
  async #hasStarted(): Promise<boolean> {
    const starting = this.#starting;
    if (starting === undefined) return false;
    const giveUp = this.#settings.runtime.clock.after(
      STORE_MS,
      () => starting.reject(stoppedWhileStarting()),
      true,
    );
    try {
      await starting.promise;
      return true;
    } catch {
      return false;
    } finally {
      giveUp.cancel();
    }
  }

  async #drain(): Promise<void> {
    const { tasks, messages, locks } = this.#parts;
    const { shutdown } = this.#settings;
    const left = (): number => this.#leftMs(2 * CLOSE_MS);
    await this.#attempt('tasks', () => tasks.shutdown(shutdown), left());
    this.#giveUpStore();
    // The last seconds are the store's.
    const drainMs = Math.min(shutdown.drainMs, Math.max(0, this.#leftMs() - STORE_MS));
    await this.#attempt('messages', () => messages.shutdown({ drainMs }), left());
    this.#giveUpStore();
    await this.#attempt('locks', () => locks.shutdown(), this.#storeMs(2 * CLOSE_MS));
  }

  /** What one part has waited for in vain the next ones need not wait for again: all that was asked is refused. */
  #giveUpStore(): void {
    if (this.#operations.silentMs() < STORE_MS - CLOSE_MS) return;
    this.#isStoreGone = true;
    this.#operations.end(true);
  }

  /** For a step that needs nothing but the store. @param keptMs for what comes after */
  #storeMs(keptMs = 0): number {
    return Math.min(this.#leftMs(keptMs), this.#isStoreGone ? CLOSE_MS : STORE_MS);
  }

  /** @param keptMs for what comes after */
  #leftMs(keptMs = 0): number {
    if (this.#endsAt === undefined) return STORE_MS;
    return Math.max(AT_ONCE_MS, this.#endsAt - keptMs - this.#settings.runtime.clock.mono());
  }

  #within(limitMs: number, end: Promise<unknown>): Promise<unknown> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const late = (): void => {
      this.#isStoreGone = true;
      reject(
        new CoordinationError(
          'BACKEND_UNAVAILABLE',
          `The store did not answer within ${Math.round(limitMs)} ms`,
        ),
      );
    };
    const timer = this.#settings.runtime.clock.after(limitMs, late, true);
    void end.then(resolve, reject).finally(() => timer.cancel());
    return promise;
  }

  #refuseIfStopping(): void {
    if (this.#state !== 'starting') throw stoppedWhileStarting();
  }

  /** A part that fails to stop, or never ends, must not keep the others from stopping. */
  async #attempt(part: string, stop: () => unknown, limitMs = this.#leftMs()): Promise<void> {
    try {
      await this.#within(limitMs, Promise.resolve(stop()));
    } catch (error) {
      this.#report(part, error);
      const { code, message } = toStoredError(error);
      this.#settings.runtime.logger.error(`Stopping ${part} failed`, { code, message });
    }
  }

  #report(part: string, error: unknown): void {
    const { code, message } = toStoredError(error);
    this.#settings.events.emit('system:error', { part, code, message });
  }
}

function stoppedWhileStarting(): CoordinationError {
  return new CoordinationError('STOPPED', 'The mesh was shut down while it started');
}
