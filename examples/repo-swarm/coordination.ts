import type { Mesh, ResourceRequest, TaskContext } from './mesh.ts';

/**
 * All that differs between the coordinated run and the run without coordination: whether locks hold and versions are compared. Agents,
 * plan, tool calls and every other line are the same.
 */
export interface Coordination {
  /** Runs `use` while everything asked for is held. */
  hold<R>(
    context: TaskContext,
    request: ResourceRequest | readonly ResourceRequest[],
    use: () => Promise<R>,
  ): Promise<R>;
  /** The version of a file: to be read before the file is. */
  version(path: string, agentId: string): number;
  /** Whether the file still has that version. To be asked while holding it. */
  isCurrent(path: string, version: number): boolean;
  /** Gives a file a new version. To be called while still holding it, and after it was written: the other way round somebody could read the new version and the old file. */
  advance(path: string): void;
}

export function coordinationBy({ versions }: Mesh): Coordination {
  return {
    hold: (context, request, use) => context.withLock(request, use),
    version: (path, agentId) => versions.acquireLock(path, agentId),
    isCurrent: (path, version) => versions.version(path) === version,
    advance: (path) => versions.bump(path),
  };
}

export const noCoordination: Coordination = {
  hold: (_context, _request, use) => use(),
  version: () => 0,
  isCurrent: () => true,
  advance: () => undefined,
};
