import { measure } from 'mitata';

/** ns of one call of a synchronous function: median of mitata's samples, after warm-up. */
export async function nsPerCall(fn: () => unknown): Promise<number> {
  const { p50 } = await measure(fn, { min_cpu_time: 300 * 1e6 });
  return p50;
}

/**
 * ns of one step of a loop that knows how to run `n` steps: the best of several batches after a warm-up, for steps that are
 * asynchronous or need a state of their own.
 */
export async function nsPerStep(
  loop: (n: number) => void | Promise<void>,
  n: number,
  batches = 7,
): Promise<number> {
  await loop(Math.max(1, n >> 1));
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < batches; i++) {
    const from = performance.now();
    await loop(n);
    best = Math.min(best, ((performance.now() - from) * 1e6) / n);
  }
  return best;
}

/** Keeps results from being optimised away. */
export const sink = { value: 0 };

/** Bytes that are reachable now, typed arrays included. Needs `--expose-gc`. */
export function heapBytes(): number {
  const { gc } = globalThis as { gc?: () => void };
  if (gc === undefined) throw new Error('run with node --expose-gc');
  gc();
  gc();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
