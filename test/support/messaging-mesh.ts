import { memory } from '../../src/backends/memory/memory.ts';
import { createOperations } from '../../src/core/operations.ts';
import type { Backend } from '../../src/core/ports/backend.ts';
import type { MessageTransport } from '../../src/core/ports/messages.ts';
import type { SessionNumber } from '../../src/core/ports/words.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import { MessageRouter } from '../../src/messaging/router.ts';
import type { MessagingOptions } from '../../src/messaging/types.ts';
import { REPORT } from '../../src/testing/suites/caller.ts';
import { createTestClock, type TestClock } from '../../src/testing/test-clock.ts';
import { retrying } from '../../src/testing/wrappers.ts';

export interface MessagingMesh {
  readonly clock: TestClock;
  readonly backend: Backend;
  /** A router as another process would have it: with a session of its own. */
  router(boot: string, options?: MessagingOptions, transport?: MessageTransport): Promise<MessageRouter>;
  /** Lets time pass until this is settled: calls that are repeated wait between tries. */
  until<T>(promise: Promise<T>): Promise<T>;
  /** The process of this boot dies: its session ends. */
  end(boot: string): Promise<void>;
}

/** Several routers on one memory backend, which may be wrapped, on simulated time. */
export async function createMessagingMesh(
  wrap: (backend: Backend) => Backend = (b) => b,
): Promise<MessagingMesh> {
  const clock = createTestClock();
  const backend = wrap(memory({ shared: true }));
  await backend.start(createRuntime({ clock, random: createRandom('mesh') }));
  const sessions = new Map<string, SessionNumber>();
  return {
    clock,
    backend,
    async until(promise) {
      let settled = false;
      const mark = (): void => {
        settled = true;
      };
      promise.then(mark, mark);
      while (!settled) await clock.advance(20);
      return promise;
    },
    async end(boot) {
      await retrying(backend).sessions?.close(sessions.get(boot) as SessionNumber);
    },
    async router(boot, options = {}, given) {
      const runtime = createRuntime({ clock, random: createRandom(boot) });
      const { messages: transport, capabilities, onHint } = backend;
      const { sessions: port } = retrying(backend);
      if (port === undefined || transport === undefined)
        throw new Error('a backend with sessions and messages');
      const { session } = await port.open({ boot, leaseMs: 1e9, writer: 1, report: REPORT });
      sessions.set(boot, session);
      const operations = createOperations(session, runtime, { maxInFlight: capabilities.maxInFlight });
      return new MessageRouter(options, undefined, undefined, {
        runtime,
        transport: given ?? transport,
        operations,
        capabilities,
        onHint,
      });
    },
  };
}
