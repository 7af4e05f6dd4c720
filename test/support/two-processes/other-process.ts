import { Redis } from 'ioredis';
import pg from 'pg';
import { postgres } from '../../../src/backends/postgres/postgres.ts';
import { createRedis } from '../../../src/backends/redis/redis.ts';
import { toStoredError } from '../../../src/core/errors.ts';
import type { Backend } from '../../../src/core/ports/backend.ts';
import { createRandom } from '../../../src/core/runtime/random.ts';
import { createRuntime } from '../../../src/core/runtime/runtime.ts';
import { plain } from './plain.ts';

/** Where a mesh of the other process is. */
export type Place =
  | { readonly backend: 'postgres'; readonly url: string; readonly schema: string }
  | {
      readonly backend: 'redis';
      readonly url: string;
      readonly prefix: string;
      readonly mesh: string;
      /** Lua that sets `NOW`. */
      readonly clock: string;
    };

/** What the other process is asked. */
export type Question =
  | { readonly id: number; readonly ask: 'start'; readonly mesh: string; readonly place: Place }
  | { readonly id: number; readonly ask: 'stop'; readonly mesh: string }
  | {
      readonly id: number;
      readonly ask: 'call';
      readonly mesh: string;
      readonly port: string;
      readonly method: string;
      readonly args: readonly unknown[];
    };

export type Reply = { readonly id: number } & (
  | { readonly value: unknown }
  | { readonly error: { readonly code: string; readonly message: string } }
);

/** Backends by their mesh. */
const backends = new Map<string, Backend>();
/** Connections outlive the tests: connecting anew for each would cost more than the tests themselves. */
const pools = new Map<string, pg.Pool>();
const clients = new Map<string, { readonly client: Redis; readonly subscriber: Redis }>();
const runtime = createRuntime({ random: createRandom('the other process') });

function known<T>(all: Map<string, T>, key: string, make: () => T): T {
  const found = all.get(key) ?? make();
  all.set(key, found);
  return found;
}

function open(place: Place): Backend {
  if (place.backend === 'redis') {
    const { url, prefix, mesh, clock } = place;
    const two = known(clients, url, () => ({ client: new Redis(url), subscriber: new Redis(url) }));
    return createRedis({ ...two, prefix, mesh }, { clock });
  }
  const { url, schema } = place;
  const pool = known(pools, url, () => {
    const made = new pg.Pool({ connectionString: url, max: 6 });
    made.on('error', () => undefined);
    return made;
  });
  const waits = { connectTimeoutMs: 30_000, commandTimeoutMs: 30_000 };
  return postgres({ pool, schema, listen: false, migrate: 'check', ...waits });
}

async function answer(question: Question): Promise<unknown> {
  if (question.ask === 'start') {
    const backend = open(question.place);
    await backend.start(runtime);
    backends.set(question.mesh, backend);
    return undefined;
  }
  const backend = backends.get(question.mesh) as Backend;
  if (question.ask === 'stop') {
    return backend.stop();
  }
  const port = Reflect.get(backend, question.port) as object;
  return Reflect.apply(Reflect.get(port, question.method) as () => unknown, port, question.args);
}

process.on('message', (question: Question) => {
  const { id } = question;
  answer(question).then(
    (value) => process.send?.({ id, value: plain(value) } satisfies Reply),
    (error: unknown) => {
      const { code, message } = toStoredError(error);
      process.send?.({ id, error: { code, message } } satisfies Reply);
    },
  );
});
process.on('disconnect', () => process.exit(0));
