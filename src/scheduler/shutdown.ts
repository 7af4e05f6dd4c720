import { CoordinationError } from '../core/errors.ts';
import { resolveOptions, type Resolved } from '../core/options.ts';
import type { Runtime } from '../core/ports/runtime.ts';
import type { AgentRegistry } from './agent-registry.ts';
import type { Run, StopCause } from './agent.ts';
import type { Cancellation } from './cancellation.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { Executor } from './executor.ts';
import type { Company } from './parts.ts';
import type { Settler } from './settler.ts';
import type { SurvivorWaits } from './survivor-waits.ts';

/** How long a shutdown waits for the store when no handler runs any more, ms. */
const STORE_MS = 5_000;

export interface ShutdownOptions {
  readonly drainMs?: number;
  readonly then?: 'abort' | 'release' | undefined;
}

export interface ShutdownDeps {
  readonly runtime: Runtime;
  readonly options: Pick<Resolved<'scheduling'>, 'graceMs'>;
  readonly agents: AgentRegistry;
  readonly dispatcher: Dispatcher;
  readonly executor: Executor;
  readonly survivors: SurvivorWaits;
  readonly settler: Settler;
  readonly cancellation: Cancellation;
  readonly company: Company;
  /** Nothing runs any more, or nothing more can be done about it: everybody who waits hears so. */
  readonly over: () => void;
}

/** Ends the work of a scheduler: first nothing new begins, then what runs is waited for, then it is stopped. */
export class Shutdown {
  readonly #deps: ShutdownDeps;
  #stopping: Promise<void> | undefined;
  /** Nothing new is started. */
  isDrained = false;
  /** Nothing new is accepted. */
  isStopped = false;

  constructor(deps: ShutdownDeps) {
    this.#deps = deps;
  }

  /** @throws STOPPED */
  refuse(): void {
    if (this.isStopped) throw stopped('The scheduler has been shut down');
  }

  /** Starts nothing new; resolves when what runs has ended. @param inside a run that is not waited for: the one that asks */
  async drain(inside: Run | undefined): Promise<void> {
    const { agents, dispatcher, settler, survivors, cancellation } = this.#deps;
    this.isDrained = true;
    dispatcher.stop();
    for (const run of dispatcher.unstarted()) cancellation.stop(run, 'shutdown-release', 'draining');
    survivors.hurry();
    await dispatcher.untilQuiet();
    await Promise.all(agents.busy().map((agent) => agent.untilIdle(inside)));
    survivors.hurry();
    await settler.untilIdle();
  }

  /** Idempotent. @throws INVALID_ARGUMENT */
  async run(options: ShutdownOptions): Promise<void> {
    this.#stopping ??= this.#stop(resolveOptions('shutdown', options, true));
    await this.#stopping;
  }

  async #stop({ drainMs, then }: Resolved<'shutdown'>): Promise<void> {
    const { options, runtime, company } = this.#deps;
    // Where others go on, a process that is replaced must not cost its tasks more than one that is killed.
    const isReleased = then === undefined ? company !== 'alone' : then === 'release';
    this.isStopped = true;
    const drained = this.drain(undefined);
    const rested = this.#untilRested();
    if (!(await this.#within(rested, drainMs))) {
      this.#stopAll(isReleased ? 'shutdown-release' : 'shutdown-abort');
      await this.#within(rested, options.graceMs);
    }
    if (!(await this.#within(drained, STORE_MS)))
      runtime.logger.warn('The task store does not answer; what ended last may run again');
    this.#deps.over();
  }

  /** Resolves when no handler runs any more, whether the store has heard of it or not. */
  async #untilRested(): Promise<void> {
    await Promise.all(this.#deps.agents.busy().map((agent) => agent.untilIdle()));
  }

  #stopAll(cause: StopCause): void {
    const { agents, executor } = this.#deps;
    for (const agent of agents.all())
      for (const run of agent.runs()) executor.stop(run, cause, 'the mesh is shutting down');
  }

  /** Whether it is done in this time. */
  #within(work: Promise<void>, ms: number): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const timer = this.#deps.runtime.clock.after(ms, () => resolve(false), true);
      work.then(
        () => {
          timer.cancel();
          resolve(true);
        },
        (error: unknown) => {
          timer.cancel();
          reject(error);
        },
      );
    });
  }
}

export function stopped(message: string): CoordinationError {
  return new CoordinationError('STOPPED', `${message}: the scheduler was shut down`);
}
