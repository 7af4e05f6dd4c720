import { checkFunction, checkId, checkInteger } from '../core/check.ts';
import { DeadlockError } from '../core/deadlock-error.ts';
import { isCoordinationError } from '../core/errors.ts';
import { checkOptions } from '../core/options.ts';
import type { Clock } from '../core/ports/runtime.ts';
import { DefeatLane } from './defeat-lane.ts';
import { LockScope, type ScopeHost } from './lock-scope.ts';

export interface ScopeOptions {
  /** @default an id of its own */
  readonly owner?: string;
  readonly agent?: string;
  readonly task?: string;
  readonly priority?: number;
  readonly signal?: AbortSignal;
  /** How often it may be the victim of a deadlock before the error is passed on. @default 10 */
  readonly maxDefeats?: number;
}

/** Defeats in a row after which a scope runs again only when no other such scope does. */
const PATIENCE = 3;

/** What scopes need of the manager. */
export interface ScopesHost extends ScopeHost {
  releaseOwner(owner: string): Promise<number>;
  untilFinished(owner: string, options: { readonly signal: AbortSignal | undefined }): Promise<void>;
}

/** Runs scopes, and runs them again after a defeat. */
export class LockScopes {
  readonly #host: ScopesHost;
  readonly #newId: () => string;
  readonly #lane: DefeatLane;
  readonly #timeoutMs: number;

  /** @param timeoutMs how long one waits for others that keep losing too */
  constructor(host: ScopesHost, newId: () => string, clock: Clock, timeoutMs: number) {
    this.#host = host;
    this.#newId = newId;
    this.#lane = new DefeatLane(clock);
    this.#timeoutMs = timeoutMs;
  }

  /** See `ResourceManager.scope`. */
  async run<R>(run: (scope: LockScope) => R | Promise<R>, given: ScopeOptions): Promise<R> {
    checkFunction(run, 'the function of the scope');
    const known = ['owner', 'agent', 'task', 'priority', 'signal', 'maxDefeats'] as const;
    const options = checkOptions('scope', given, known);
    const { maxDefeats = 10, owner = this.#newId(), ...own } = options;
    checkInteger(maxDefeats, 'maxDefeats', 0);
    const scope = new LockScope(this.#host, checkId(owner, 'owner'), own);
    let leaveLane: (() => void) | undefined;
    try {
      for (let defeats = 0; ; defeats++) {
        if (defeats === PATIENCE) leaveLane = await this.#lane.enter(this.#timeoutMs);
        try {
          return await run(scope);
        } catch (error) {
          if (defeats >= maxDefeats || !isCoordinationError(error, 'DEADLOCK')) throw error;
          await this.#makeRoom(scope, error);
        } finally {
          await this.#host.releaseOwner(owner);
        }
      }
    } finally {
      leaveLane?.();
    }
  }

  /** Gives everything back, and waits until the survivor has finished. */
  async #makeRoom({ owner, signal }: LockScope, error: unknown): Promise<void> {
    await this.#host.releaseOwner(owner);
    const survivor = survivorIn(error);
    if (survivor !== owner) await this.#host.untilFinished(survivor, { signal });
  }
}

/** Whom the victim of a deadlock is to wait for. */
function survivorIn(error: unknown): string {
  return DeadlockError.nodesOf(error)?.survivor ?? (error as DeadlockError).survivor;
}
