import type { ClusterNode, ClusterOptions, RedisOptions as ClientOptions } from 'ioredis';
import { checkInteger, checkMs, reading } from '../../core/check.ts';
import { CoordinationError, describe } from '../../core/errors.ts';
import { checkMethods, checkOptions, notAnAddress, refuseUnknown } from '../../core/options.ts';
import type { RedisClient } from './client.ts';
import type { RedisTaskStoreOptions } from './tasks/redis-task-store.ts';

/** How to reach Redis, and what this mesh is called there. Exactly one of `url`, `config`, `cluster` and `client`. */
export interface RedisOptions {
  /** `redis://…`, `rediss://…` (TLS) or the path of a Unix socket. `redis://host/3` is database 3; one that can't be selected is refused. */
  readonly url?: string;
  /** Options of `ioredis`, for what a URL can't say: TLS, sentinels, a Unix socket. */
  readonly config?: ClientOptions;
  /** A Redis Cluster: some of its nodes, and options of ioredis' `Cluster`. */
  readonly cluster?: { readonly nodes: readonly ClusterNode[]; readonly options?: ClusterOptions };
  /**
   * A client of yours: an `ioredis` Redis or Cluster. It is used as it is and never closed. Best without offline queue and without resending
   * (`enableOfflineQueue: false`, `autoResendUnfulfilledCommands: false`, `maxRetriesPerRequest: 0`): the backend says at once that Redis is away.
   */
  readonly client?: RedisClient;
  /** A second client of yours, which does nothing but listen. Only with `client`. @default a duplicate of it, closed by the backend */
  readonly subscriber?: RedisClient;
  /** Begins every key. Letters, digits, `-`, `_`, `.` and `:`, at most 64. @default 'agentmesh' */
  readonly prefix?: string;
  /** The name of this mesh, in the hash tag of every key: two meshes on one server don't see each other. Letters, digits, `-`, `_` and `.`, at most 64. @default 'default' */
  readonly mesh?: string;
  /** How much the task store remembers. */
  readonly tasks?: RedisTaskStoreOptions;
  /** Longest time `start` takes to connect, ms. @default 5,000 */
  readonly connectTimeoutMs?: number;
  /** Longest wait for a reply, ms; a connection without one for as long is made anew. @default 10,000 */
  readonly commandTimeoutMs?: number;
}

const NAMES = [
  'url',
  'config',
  'cluster',
  'client',
  'subscriber',
  'prefix',
  'mesh',
  'tasks',
  'connectTimeoutMs',
  'commandTimeoutMs',
] as const;

const CLIENT_METHODS = [
  'call',
  'duplicate',
  'subscribe',
  'unsubscribe',
  'on',
  'off',
  'connect',
  'disconnect',
];
const WAYS = ['url', 'config', 'cluster', 'client'] as const;

export interface CheckedRedisOptions {
  readonly way: (typeof WAYS)[number];
  readonly given: RedisOptions;
  /** What every key begins with. */
  readonly tag: string;
  readonly tasks: RedisTaskStoreOptions;
  readonly connectTimeoutMs: number;
  readonly commandTimeoutMs: number;
}

/** @throws INVALID_OPTION, never with a password in it */
export function checkRedisOptions(options: RedisOptions): CheckedRedisOptions {
  if (typeof options === 'string') throw notAnAddress('redis');
  const given = checkOptions('redis', options, NAMES);
  const ways = WAYS.filter((name) => given[name] !== undefined);
  const [way] = ways;
  if (way === undefined || ways.length > 1)
    throw wrong(
      `Expected exactly one of \`url\`, \`config\`, \`cluster\` and \`client\` of \`redis\`, got ${ways.length === 0 ? 'none' : ways.join(' and ')}`,
    );
  if (given.url !== undefined) checkUrl(given.url);
  if (given.config !== undefined) {
    checkIsObject('config', given.config);
    checkDatabase(
      'db` of `redis.config',
      reading('`redis.config`', () => given.config?.db),
    );
  }
  if (given.cluster !== undefined) checkCluster(given.cluster);
  if (given.client !== undefined) checkClient('client', given.client);
  if (given.subscriber !== undefined) {
    if (given.client === undefined) throw wrong('`redis.subscriber` goes with `redis.client` only');
    checkClient('subscriber', given.subscriber);
    if (given.subscriber === given.client)
      throw wrong('Expected `redis.subscriber` to be another client than `redis.client`');
  }
  const prefix = checkName('prefix', given.prefix ?? 'agentmesh', /^[\w.:-]{1,64}$/);
  const mesh = checkName('mesh', given.mesh ?? 'default', /^[\w.-]{1,64}$/);
  return {
    way,
    given,
    tag: `${prefix}:{${mesh}}:`,
    tasks: checkTasks(given.tasks),
    connectTimeoutMs: checkMs(given.connectTimeoutMs ?? 5_000, 'redis.connectTimeoutMs'),
    commandTimeoutMs: checkMs(given.commandTimeoutMs ?? 10_000, 'redis.commandTimeoutMs'),
  };
}

/** What is wrong is said without showing it: an address may hold a password. */
function checkUrl(url: unknown): void {
  const isAddress =
    typeof url === 'string' &&
    ((/^rediss?:\/\/[^\s]+$/.test(url) && URL.canParse(url)) || url.startsWith('/'));
  if (!isAddress)
    throw wrong(
      'Expected `redis.url` to be redis://host:port, rediss://host:port or the path of a socket',
      'Percent-encode special characters of the password.',
    );
  const { pathname, searchParams } = new URL(url.startsWith('/') ? `redis://socket${url}` : url);
  if (!url.startsWith('/')) checkDatabase('path` of `redis.url', pathname.slice(1));
  checkDatabase('db` of `redis.url', searchParams.get('db') ?? '');
}

/** The client takes what is no number for 0, and says nothing. */
function checkDatabase(name: string, database: unknown): void {
  const text = typeof database === 'number' ? String(database) : database;
  if (text !== undefined && !(typeof text === 'string' && /^\d*$/.test(text)))
    throw wrong(`Expected \`${name}\` to be the number of a database`);
}

function checkCluster(cluster: unknown): void {
  checkIsObject('cluster', cluster);
  const given = cluster as {
    readonly nodes?: unknown;
    readonly options?: { readonly redisOptions?: { readonly db?: unknown } };
  };
  refuseUnknown('redis.cluster', given, ['nodes', 'options']);
  if (!Array.isArray(given.nodes) || given.nodes.length === 0)
    throw wrong('Expected `redis.cluster.nodes` to be an array of at least one node');
  if (Number(reading('`redis.cluster`', () => given.options?.redisOptions?.db) ?? 0) !== 0)
    throw wrong(
      'Expected `redis.cluster.options.redisOptions` to have no `db`: a cluster has database 0 only',
    );
}

function checkClient(name: string, client: RedisClient): void {
  checkMethods(`redis.${name}`, client, CLIENT_METHODS);
  const { options } = client;
  if (typeof options?.keyPrefix === 'string' && options.keyPrefix !== '')
    throw wrong(
      `Expected \`redis.${name}\` to have no \`keyPrefix\``,
      'Use `redis.prefix` instead: the keys of a mesh need one hash tag.',
    );
}

function checkTasks(given: RedisTaskStoreOptions | undefined): RedisTaskStoreOptions {
  const tasks = checkOptions('redis.tasks', given, ['keepEnded', 'history'], 'the tasks of redis');
  if (tasks.keepEnded !== undefined) checkInteger(tasks.keepEnded, 'redis.tasks.keepEnded', 0);
  if (tasks.history !== undefined) checkInteger(tasks.history, 'redis.tasks.history', 0);
  return tasks;
}

function checkIsObject(name: string, value: unknown): void {
  if (typeof value !== 'object' || value === null)
    throw wrong(`Expected \`redis.${name}\` to be an object, got ${typeof value}`);
}

function checkName(name: string, value: unknown, allowed: RegExp): string {
  if (typeof value === 'string' && allowed.test(value)) return value;
  throw wrong(
    `Expected \`redis.${name}\` to have 1 to 64 letters, digits and - _ .${name === 'prefix' ? ' :' : ''}, got ${reading(name, () => describe(value))}`,
  );
}

function wrong(message: string, hint?: string): CoordinationError {
  return new CoordinationError('INVALID_OPTION', message, hint === undefined ? {} : { hint });
}
