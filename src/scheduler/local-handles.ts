import { LocalHandle, type HandleHost } from './task-handle.ts';

/** Looked through for what is over when there are so many more than at the last time. */
const PRUNE_AT = 1_024;

/**
 * The handles of this process by task id, for stores that echo no objects: those whose task is claimed here, and those whose result
 * somebody waits for. A store in the same process keeps them with its tasks and needs none of this.
 */
export class LocalHandles {
  readonly #host: () => HandleHost;
  readonly #known = new Map<string, LocalHandle>();
  #pruneAt = PRUNE_AT;

  constructor(host: () => HandleHost) {
    this.#host = host;
  }

  find(id: string): LocalHandle | undefined {
    return this.#known.get(id);
  }

  /** Tasks that were just claimed; each gets a run in the same turn. */
  claimed(ids: readonly string[]): readonly LocalHandle[] {
    if (this.#known.size > this.#pruneAt) this.#prune();
    return ids.map((id) => {
      const known = this.#known.get(id);
      if (known !== undefined && known.outcome === undefined) return known;
      const handle = new LocalHandle(id, this.#host());
      this.#known.set(id, handle);
      return handle;
    });
  }

  /** Somebody waits for its result. */
  awaited(handle: LocalHandle): void {
    const known = this.#known.get(handle.id);
    if (known !== undefined && known !== handle && known.run !== undefined) {
      // Claimed before anybody asked for its result: the run tells this handle from now on.
      handle.run = known.run;
      handle.run.handle = handle;
    }
    this.#known.set(handle.id, handle);
  }

  #prune(): void {
    for (const [id, handle] of this.#known) if (handle.isSilent) this.#known.delete(id);
    this.#pruneAt = Math.max(PRUNE_AT, 2 * this.#known.size);
  }
}
