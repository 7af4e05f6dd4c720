import { type AgentProfile, CoordinationManager, type CoordinationOptions } from '../ours.ts';

/** A manager with everything on, as `new CoordinationManager()` gives it. */
export async function startMesh(options: CoordinationOptions = {}): Promise<CoordinationManager> {
  const mesh = new CoordinationManager(options);
  await mesh.initialize();
  return mesh;
}

export const worker = (id: string, slots: number, more: Partial<AgentProfile> = {}): AgentProfile => ({
  id,
  maxConcurrentTasks: slots,
  handler: () => undefined,
  ...more,
});

/** µs of one of `n` steps. */
export async function usEach(n: number, work: () => Promise<unknown>): Promise<number> {
  const from = performance.now();
  await work();
  return ((performance.now() - from) * 1_000) / n;
}

export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
