import { pulseData, pulseLimits, renewFromThread } from '../../core/pulse-thread.ts';
import { createRuntime } from '../../core/runtime/runtime.ts';
import type { RedisClient } from './client.ts';
import { whenReady } from './connect.ts';
import { RedisStore } from './connection.ts';
import { openClient } from './open-client.ts';
import type { RedisPulse } from './pulse.ts';
import { PULSE } from './sessions.ts';

/** The thread that renews the lease of a session in Redis. Its client connects again by itself, and is replaced when it has given up. */
const data = pulseData<RedisPulse>();
const { clock, ...connection } = data.connection;
const options = { ...connection, ...pulseLimits(connection) };
const runtime = createRuntime();
const store = new RedisStore({ ...options, ...(clock === undefined ? {} : { clock }) });
let client: RedisClient | undefined;

async function open(): Promise<RedisClient> {
  const opened = await openClient(options, runtime);
  opened.on('error', () => undefined);
  opened.on('ready', () => store.reconnected());
  store.use(opened, runtime);
  return opened;
}

renewFromThread(async () => {
  if (client === undefined || client.status === 'end') client = await open();
  await whenReady(client);
  return (await store.run(PULSE, [data.session], 'write')) === 1;
});
