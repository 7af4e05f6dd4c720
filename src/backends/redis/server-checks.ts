import type { BackendReport, Durability } from '../../core/ports/backend.ts';
import { CoordinationError } from '../../core/errors.ts';
import type { BackendTime } from '../../core/ports/words.ts';
import type { StartProblem } from '../../core/start-problems.ts';
import type { RedisStore } from './connection.ts';
import { defineScript } from './scripts.ts';

/** Layout of keys that this build reads and writes. */
export const LAYOUT = 1;
/** Clocks that differ by more make times on the dashboard hard to read; nothing else depends on it. */
const MAX_SKEW_MS = 5_000;

export type Problem = BackendReport['problems'][number] & { readonly code: StartProblem };

/** Sections of INFO or '' where the user of the connection may not ask. In a cluster a script asks the very node that has the mesh. */
const LOOK = defineScript(
  'look',
  /* lua */ `
local answer = { int(now()) }
for i, section in ipairs({ 'server', 'persistence', 'memory', 'replication' }) do
  local text = redis.pcall('INFO', section)
  answer[i + 1] = type(text) == 'string' and text or ''
end
return answer
`,
);

/** Claims the prefix for this layout unless it has one. Answers its layout and the oldest writer. */
const CLAIM = defineScript(
  'claim-layout',
  /* lua */ `
local meta = K .. 'meta'
redis.call('HSETNX', meta, 'layout', ARGV[1])
redis.call('HSETNX', meta, 'oldest', '1')
return redis.call('HMGET', meta, 'layout', 'oldest')
`,
);

/**
 * Looks at the server: what survives what, and what stands in the way.
 * @param repair what is the matter with its log
 * @throws SCHEMA_MISMATCH when the layout is newer
 */
export async function lookAtServer(
  store: RedisStore,
  wallMs: () => number,
  repair: () => Promise<readonly Problem[]>,
): Promise<BackendReport> {
  const before = wallMs();
  const [at, ...sections] = (await store.run(LOOK, [], 'read')) as [string, ...string[]];
  const here = (before + wallMs()) / 2;
  const info = parseInfo(sections.join('\n'));
  const problems: Problem[] = [];
  const isReplica = info.get('role') === 'slave';
  if (info.size === 0)
    problems.push(unchecked('INFO', 'version, persistence, eviction, replication and starts after a crash'));
  else problems.push(...problemsOf(info));
  const durability = await durabilityOf(store, info, problems);
  const skewMs = Math.abs(Number(at) / 1_000 - here);
  if (skewMs > MAX_SKEW_MS) problems.push(skewed(skewMs));
  const schema = isReplica ? { version: LAYOUT, oldestWriter: 1 } : await claimLayout(store);
  if (!isReplica) problems.push(...(await repair()));
  return { at: Number(at) as BackendTime, durability, server: nameOf(info), schema, problems };
}

/** Valkey gives itself out for the Redis that it began as. */
function nameOf(info: ReadonlyMap<string, string>): string {
  const valkey = info.get('valkey_version');
  return valkey === undefined
    ? `Redis ${info.get('redis_version') ?? '(version unknown)'}`
    : `Valkey ${valkey}`;
}

async function claimLayout(store: RedisStore): Promise<BackendReport['schema']> {
  const [layout, oldest] = (await store.run(CLAIM, [LAYOUT], 'write')) as [string, string];
  if (Number(layout) > LAYOUT)
    throw new CoordinationError(
      'SCHEMA_MISMATCH',
      `The keys below ${store.tag} have layout ${layout}; this build knows layout ${LAYOUT}`,
      { hint: 'Update this build, or choose another `mesh`.' },
    );
  return { version: Number(layout), oldestWriter: Number(oldest) };
}

function problemsOf(info: ReadonlyMap<string, string>): Problem[] {
  const problems: Problem[] = [];
  const version = info.get('redis_version') ?? '0';
  if (Number.parseInt(version, 10) < 7)
    problems.push({
      code: 'SERVER_TOO_OLD',
      severity: 'refuse',
      message: `Redis ${version} is older than 7.0`,
      hint: 'Use Redis 7.0 or newer, or Valkey.',
    });
  const policy = info.get('maxmemory_policy');
  if (policy !== undefined && policy !== 'noeviction')
    problems.push({
      code: 'EVICTION',
      severity: 'refuse',
      message: `maxmemory-policy is ${policy}: Redis would delete tasks and locks silently when its memory is full`,
      hint: 'Set it to noeviction: `CONFIG SET maxmemory-policy noeviction`, and in the configuration file.',
    });
  if (info.get('role') === 'slave')
    problems.push({
      code: 'REPLICA',
      severity: 'refuse',
      message: 'This server is a replica: it can lag behind, and takes no writes',
      hint: 'Connect to the master.',
    });
  return problems;
}

/** Adds what is the matter to `problems`. */
async function durabilityOf(
  store: RedisStore,
  info: ReadonlyMap<string, string>,
  problems: Problem[],
): Promise<Durability> {
  const aof = info.get('aof_enabled');
  if (aof === '0') {
    problems.push({
      code: 'AOF_OFF',
      severity: 'warn',
      message: 'appendonly is off: when Redis dies, everything since its last snapshot is lost',
      hint: 'Switch it on: `CONFIG SET appendonly yes`, and in the configuration file.',
    });
    return 'process';
  }
  const fsync = await fsyncOf(store);
  if (fsync === undefined) {
    problems.push(unchecked('CONFIG GET', 'appendfsync'));
    return aof === undefined ? 'process' : 'seconds';
  }
  if (aof === '1' && fsync === 'always') return 'server-crash';
  if (fsync === 'no')
    problems.push({
      code: 'AOF_UNSYNCED',
      severity: 'warn',
      message: 'appendfsync is no: the operating system decides how much is lost when it dies',
      hint: 'Set it to everysec or always.',
    });
  return aof === '1' ? 'seconds' : 'process';
}

/** `undefined` where the user of the connection may not ask, and where a provider has taken the command away. */
async function fsyncOf(store: RedisStore): Promise<string | undefined> {
  try {
    const answer = await store.ask(['CONFIG', 'GET', 'appendfsync']);
    return Array.isArray(answer) ? (answer[1] as string | undefined) : undefined;
  } catch (error) {
    if (error instanceof CoordinationError && error.code === 'BACKEND_UNAVAILABLE') throw error;
    return undefined;
  }
}

function unchecked(command: string, what: string): Problem {
  return {
    code: 'UNCHECKED',
    severity: 'warn',
    message: `${command} is not allowed on this connection, so ${what} could not be checked`,
    hint: 'Check by hand: appendonly yes, maxmemory-policy noeviction, a master of version 7.0 or newer, BGREWRITEAOF after each crash; or allow the command.',
  };
}

function skewed(skewMs: number): Problem {
  return {
    code: 'CLOCK_SKEW',
    severity: 'warn',
    message: `The clocks of this machine and of Redis differ by ${Math.round(skewMs)} ms`,
    hint: 'Synchronise both (NTP). Leases and delays go by the clock of Redis alone.',
  };
}

function parseInfo(text: string): Map<string, string> {
  const info = new Map<string, string>();
  for (const line of text.split(/\r?\n/)) {
    const colon = line.indexOf(':');
    if (colon > 0) info.set(line.slice(0, colon), line.slice(colon + 1));
  }
  return info;
}
