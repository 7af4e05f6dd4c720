import type { RedisClient } from './client.ts';
import { REFUSED, textOf, unavailable } from './redis-errors.ts';

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
    // No later try heals it.
    if (REFUSED.test(problem)) reject(unavailable(problem));
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
