export { redis, type RedisBackend } from './redis.ts';
export type { RedisOptions } from './options.ts';
export type { RedisClient } from './client.ts';
export {
  type Fence,
  fenced,
  type FencedClient,
  type FencedCommand,
  type FencedOptions,
  once,
} from './fenced.ts';
