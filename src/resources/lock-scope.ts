import type { AcquireOptions, Lease, ResourceRequest } from '../core/lock-types.ts';

type OwnOptions = Omit<AcquireOptions, 'owner' | 'agent' | 'task'>;

/** What a scope needs of the manager. */
export interface ScopeHost {
  acquire(request: ResourceRequest, options: AcquireOptions): Promise<Lease>;
  acquireAll(requests: readonly ResourceRequest[], options: AcquireOptions): Promise<Lease>;
  withLock<R>(
    request: ResourceRequest | readonly ResourceRequest[],
    use: (lease: Lease) => R | Promise<R>,
    options: AcquireOptions,
  ): Promise<R>;
}

/** A unit of work that takes locks one after another: one owner, one node of the wait-for graph, all given back at its end. */
export class LockScope {
  readonly owner: string;
  readonly signal: AbortSignal | undefined;
  readonly #host: ScopeHost;
  readonly #options: AcquireOptions;

  constructor(host: ScopeHost, owner: string, options: AcquireOptions) {
    this.#host = host;
    this.owner = owner;
    this.signal = options.signal;
    this.#options = { ...options, owner };
  }

  acquire(request: ResourceRequest, options?: OwnOptions): Promise<Lease> {
    return this.#host.acquire(request, { ...this.#options, ...options });
  }

  acquireAll(requests: readonly ResourceRequest[], options?: OwnOptions): Promise<Lease> {
    return this.#host.acquireAll(requests, { ...this.#options, ...options });
  }

  withLock<R>(
    request: ResourceRequest | readonly ResourceRequest[],
    use: (lease: Lease) => R | Promise<R>,
    options?: OwnOptions,
  ): Promise<R> {
    return this.#host.withLock(request, use, { ...this.#options, ...options });
  }
}
