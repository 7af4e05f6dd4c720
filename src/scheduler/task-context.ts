import { CoordinationError } from '../core/errors.ts';
import { checkFunction, checkId, checkMs, checkNumber, reading } from '../core/check.ts';
import { copyJson } from '../core/json.ts';
import type { Lease, ResourceRequest } from '../core/lock-types.ts';
import type { Logger } from '../core/ports/runtime.ts';
import type { Run } from './agent.ts';
import type { Gathered, GatherOptions, TaskContext, TaskHandle, TaskSpec } from './types.ts';

/** What a context asks of the scheduler on behalf of its run. */
export interface ContextHost {
  readonly logger: Logger;
  progress(run: Run, ratio: number | undefined, note: string | undefined): void;
  submitChild(run: Run, spec: TaskSpec): Promise<TaskHandle>;
  gather(run: Run, specs: readonly TaskSpec[], options: GatherOptions): Promise<Gathered<unknown>>;
  withLock<R>(
    run: Run,
    requests: readonly ResourceRequest[],
    use: (lease: Lease) => R | Promise<R>,
  ): Promise<R>;
  request<R>(run: Run, to: string, payload: unknown, timeoutMs: number | undefined): Promise<R>;
  sleep(run: Run, ms: number): Promise<void>;
  completeWithin(run: Run, client: unknown, result: unknown): Promise<void>;
}

/** The handler's view of its run. Getters build what few handlers use only when it is looked at, and return bound functions. */
export class RunContext implements TaskContext {
  readonly #run: Run;
  readonly #host: ContextHost;
  #input: unknown = undefined;

  constructor(run: Run, host: ContextHost) {
    this.#run = run;
    this.#host = host;
  }

  // biome-ignore lint/suspicious/noExplicitAny: input is typed by the public interface
  get task(): {
    id: string;
    type: string;
    input: any;
    priority: number;
    metadata: Readonly<Record<string, unknown>>;
  } {
    const { body } = this.#run.claim;
    return {
      id: body.id,
      type: body.type,
      input: this.#inputOf(body.payload),
      priority: body.priority,
      metadata: body.headers ?? {},
    };
  }

  /** Each attempt has an input of its own: what a handler changes in it reaches neither the next attempt nor the store. */
  #inputOf(payload: unknown): unknown {
    if (typeof payload !== 'object' || payload === null) return payload;
    this.#input ??= copyJson(payload);
    return this.#input;
  }

  get agentId(): string {
    return this.#run.agent?.id ?? '';
  }

  get attempt(): number {
    return this.#run.claim.attempt;
  }

  get token(): number {
    return this.#run.claim.token;
  }

  get signal(): AbortSignal {
    return this.#run.signal;
  }

  get lease(): Lease | undefined {
    return this.#run.facts.lease;
  }

  get logger(): Logger {
    return this.#host.logger;
  }

  get progress(): TaskContext['progress'] {
    const run = this.#run;
    const host = this.#host;
    return (ratio, note) => {
      if (ratio !== undefined) checkNumber(ratio, 'progress', 0, 1);
      if (note !== undefined && typeof note !== 'string')
        throw new CoordinationError('INVALID_ARGUMENT', 'Expected the note to be a string');
      host.progress(run, ratio, note?.slice(0, 500));
    };
  }

  get submit(): TaskContext['submit'] {
    const run = this.#run;
    const host = this.#host;
    return ((child: TaskSpec) => host.submitChild(run, child)) as TaskContext['submit'];
  }

  get gather(): TaskContext['gather'] {
    const run = this.#run;
    const host = this.#host;
    return ((children: readonly TaskSpec[], options: GatherOptions = {}) =>
      host.gather(run, children, options)) as TaskContext['gather'];
  }

  get withLock(): TaskContext['withLock'] {
    const run = this.#run;
    const host = this.#host;
    return async (resource, use) => {
      const isList = reading('the resource', () => Array.isArray(resource));
      const requests = isList ? (resource as readonly ResourceRequest[]) : [resource as ResourceRequest];
      return host.withLock(run, requests, checkFunction(use, 'use'));
    };
  }

  get request(): TaskContext['request'] {
    const run = this.#run;
    const host = this.#host;
    return async <R>(to: string, payload: unknown, timeoutMs?: number) =>
      host.request<R>(run, checkId(to, 'to'), payload, timeoutMs);
  }

  get completeWithin(): TaskContext['completeWithin'] {
    const run = this.#run;
    const host = this.#host;
    return async (client, result) => host.completeWithin(run, client, result);
  }

  get sleep(): TaskContext['sleep'] {
    const run = this.#run;
    const host = this.#host;
    return async (ms) => host.sleep(run, checkMs(ms, 'sleep'));
  }
}
