import { createRedis, type InnerRedisBackend } from '../../src/backends/redis/redis.ts';
import type { RedisOptions } from '../../src/backends/redis/options.ts';
import { EMPTY_REPORT } from '../../src/core/empty-report.ts';
import type { BackendReport } from '../../src/core/ports/backend.ts';
import type { Runtime } from '../../src/core/ports/runtime.ts';
import type { Operation, SessionNumber } from '../../src/core/ports/words.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';

/** A Redis backend on real time and a process that uses it. */
export interface UsedRedis extends AsyncDisposable {
  readonly backend: InnerRedisBackend;
  readonly report: BackendReport;
  readonly session: SessionNumber;
  op(): Operation;
}

/** Starts a backend and opens a session on it. Stopped when disposed. */
export async function useRedis(
  options: RedisOptions,
  runtime: Runtime = createRuntime(),
): Promise<UsedRedis> {
  const backend = createRedis(options);
  const report = await backend.start(runtime);
  const { session } = await backend.sessions.open({
    boot: runtime.ids.next(),
    leaseMs: 60_000,
    writer: 1,
    report: EMPTY_REPORT,
  });
  let sequence = 0;
  return {
    backend,
    report,
    session,
    op: () => ({ session, sequence: ++sequence }),
    [Symbol.asyncDispose]: () => backend.stop(),
  };
}

/** The code that a call is refused with, `undefined` when it is answered. */
export async function refusalOf(call: Promise<unknown>): Promise<unknown> {
  try {
    await call;
    return undefined;
  } catch (error) {
    return (error as { readonly code?: unknown }).code ?? error;
  }
}

/** Asks again until it is answered; the backend is expected to come back soon. */
export async function untilAnswered<T>(ask: () => Promise<T>, withinMs = 5_000): Promise<T> {
  const end = performance.now() + withinMs;
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (performance.now() > end) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
