import type { RedisClient } from './client.ts';
import type { RedisStore } from './connection.ts';
import { refusalOf, textOf, unavailable, wrongDatabase } from './redis-errors.ts';

/**
 * Waits until a client can send; it tries again by itself, for ever.
 * @throws BACKEND_UNAVAILABLE when it has given up, or when trying again is no use
 */
export function whenReady(client: RedisClient): Promise<void> {
  if (client.status === 'ready') return Promise.resolve();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let problem = 'the client has ended';
  const failed = (error: unknown): void => {
    problem = textOf(error);
    const refusal = refusalOf(error);
    if (refusal !== undefined) reject(refusal);
  };
  const ended = (): void => reject(unavailable(problem));
  client.on('ready', resolve);
  client.on('error', failed);
  client.on('end', ended);
  if (client.status === 'end') ended();
  // What it rejects with comes as an event too.
  if (client.status === 'wait') client.connect().catch(() => undefined);
  return promise.finally(() => {
    client.off('ready', resolve);
    client.off('error', failed);
    client.off('end', ended);
  });
}

/**
 * Whether a client of the caller's is in the database that it was made for: it goes on in database 0 when it may not have that.
 * @throws BACKEND_UNAVAILABLE
 */
export async function checkDatabase(client: RedisClient, store: RedisStore): Promise<void> {
  const wanted = client.options?.db ?? 0;
  if (wanted === 0) return;
  const info = String(await store.ask(['CLIENT', 'INFO']));
  // In another one than 0 it was put by the caller.
  if (/ db=0 /.test(info)) throw wrongDatabase(wanted, 'your client is in database 0');
}
