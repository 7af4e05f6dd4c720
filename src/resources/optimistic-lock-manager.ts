import { checkId } from '../core/check.ts';
import type { Logger } from '../core/ports/runtime.ts';
import { guardedLogger } from '../core/runtime/guarded-logger.ts';
import { silentLogger } from '../core/runtime/logger.ts';

interface Versioned {
  version: number;
  /** What each agent read. */
  readonly readers: Map<string, number>;
}

/**
 * Optimistic locks: everybody may read at the same time, each with the version it saw; of those who saw the same version only the first
 * to update wins. A reader never disturbs another one.
 */
export class OptimisticLockManager {
  readonly #logger: Logger;
  readonly #resources = new Map<string, Versioned>();
  /** Versions of all resources come from here, so that a forgotten resource never shows an old one again. */
  #lastVersion = 0;

  constructor(logger: Logger = silentLogger) {
    this.#logger = guardedLogger(logger);
  }

  /** Notes that the agent reads the resource. Returns the version it must name to update it. */
  acquireLock(resourceId: string, agentId: string): number {
    checkId(resourceId, 'resourceId');
    checkId(agentId, 'agentId');
    let known = this.#resources.get(resourceId);
    if (known === undefined) {
      known = { version: this.#nextVersion(), readers: new Map() };
      this.#resources.set(resourceId, known);
    }
    known.readers.set(agentId, known.version);
    return known.version;
  }

  /**
   * Updates the resource if the agent read it in this version and nobody has updated it since. The agent may go on from the new version
   * ({@link version}); everybody else must read again.
   */
  validateAndUpdate(resourceId: string, agentId: string, expectedVersion: number): boolean {
    checkId(resourceId, 'resourceId');
    checkId(agentId, 'agentId');
    const known = this.#resources.get(resourceId);
    const read = known?.readers.get(agentId);
    if (known === undefined || read === undefined || read !== expectedVersion || read !== known.version) {
      this.#logger.debug('An optimistic update was refused', { resourceId, agentId, expectedVersion });
      return false;
    }
    known.version = this.#nextVersion();
    known.readers.set(agentId, known.version);
    return true;
  }

  /** Ends the agent's reading. Unknown ones are ignored. */
  releaseLock(resourceId: string, agentId: string): void {
    checkId(resourceId, 'resourceId');
    checkId(agentId, 'agentId');
    const known = this.#resources.get(resourceId);
    if (known?.readers.delete(agentId) === true && known.readers.size === 0) {
      this.#resources.delete(resourceId);
    }
  }

  /** The present version; `undefined` when nobody reads the resource. */
  version(resourceId: string): number | undefined {
    return this.#resources.get(resourceId)?.version;
  }

  /** Somebody changed the resource by other means, such as under an exclusive lock: whoever read it before can't update it any more. */
  bump(resourceId: string): void {
    const known = this.#resources.get(resourceId);
    if (known !== undefined) known.version = this.#nextVersion();
  }

  #nextVersion(): number {
    this.#lastVersion += 1;
    return this.#lastVersion;
  }
}
