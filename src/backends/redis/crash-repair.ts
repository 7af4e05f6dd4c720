import { isCoordinationError } from '../../core/errors.ts';
import type { Runtime, Timer } from '../../core/ports/runtime.ts';
import type { RedisClient } from './client.ts';
import type { RedisStore } from './connection.ts';
import { defineScript } from './scripts.ts';
import type { Problem } from './server-checks.ts';

/** After the first look, then twice that, and so on, ms: a large log takes minutes, a full disk is full for hours. */
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 60_000;

/** `failing`: the server tries, and can't. `refused`: it may not be asked. */
type LogState = 'done' | 'pending' | 'failing' | 'refused';

/**
 * Whether the run of the server that has the mesh has written its log anew, and that run where somebody has to ask for it. `meta` knows the last run
 * that has. There is nothing to be done where there is no log, for a mesh that is new, and as far as anybody can tell where INFO may not be asked.
 */
const LOOK = defineScript(
  'log-state',
  /* lua */ `
local server, persistence = redis.pcall('INFO', 'server'), redis.pcall('INFO', 'persistence')
if type(server) ~= 'string' or type(persistence) ~= 'string' then return { 'done' } end
local function says(line) return string.find(persistence, line, 1, true) ~= nil end
local meta, run = K .. 'meta', string.match(server, 'run_id:(%w+)')
local known = redis.call('HGET', meta, 'run')
if not run or known == run or not says('aof_enabled:1') then return { 'done' } end
local ok = says('aof_last_bgrewrite_status:ok')
if not known or (ok and not says('aof_last_rewrite_time_sec:-1')) then
  redis.call('HSET', meta, 'run', run)
  return { 'done' }
end
if says('aof_rewrite_in_progress:1') or says('aof_rewrite_scheduled:1') then return { 'pending' } end
return { ok and 'pending' or 'failing', run }
`,
);

/**
 * Has the append-only file written anew when the server was started since the mesh last looked.
 *
 * A Redis that dies in the middle of a write leaves the beginning of a transaction at the end of the file. When it starts, it leaves that out, as it should,
 * but cuts off only the command that was cut short (seen in 7.0.15; Valkey mended it in 2026, pull request 4342). What comes later is added behind, so the
 * *next* start would carry that beginning out beside it: tasks would be ready twice. Written from memory, the file has no such end.
 */
export class CrashRepair {
  readonly #store: RedisStore;
  readonly #runtime: Runtime;
  #again: Timer | undefined;
  #pauseMs = FIRST_PAUSE_MS;
  #isLooking = false;
  #isStopped = false;
  /** The last state that somebody was told of. */
  #told: LogState = 'done';

  constructor(store: RedisStore, runtime: Runtime) {
    this.#store = store;
    this.#runtime = runtime;
  }

  /** The first look; goes on by itself until the log is new. @throws BACKEND_UNAVAILABLE */
  async begin(): Promise<readonly Problem[]> {
    const state = await repair(this.#store);
    this.#told = state;
    this.#goOn(state);
    return problemsOf(state);
  }

  /** The server may be another run of it, or another server. */
  look(): void {
    this.#pauseMs = FIRST_PAUSE_MS;
    this.#look();
  }

  stop(): void {
    this.#isStopped = true;
    this.#again?.cancel();
  }

  #look(): void {
    if (this.#isLooking || this.#isStopped) return;
    this.#isLooking = true;
    this.#again?.cancel();
    void repair(this.#store)
      // A server that has just been started may be slow.
      .catch((): LogState => 'pending')
      .then((state) => {
        this.#isLooking = false;
        this.#tell(state);
        this.#goOn(state);
      });
  }

  #goOn(state: LogState): void {
    if (state === 'done' || state === 'refused' || this.#isStopped) return;
    this.#again = this.#runtime.clock.after(this.#pauseMs, () => this.#look());
    this.#pauseMs = Math.min(2 * this.#pauseMs, LONGEST_PAUSE_MS);
  }

  #tell(state: LogState): void {
    if (state === 'pending' || state === this.#told || this.#isStopped) return;
    this.#told = state;
    for (const { code, message, hint } of problemsOf(state))
      this.#runtime.logger.warn(message, { code, hint });
  }
}

async function repair(store: RedisStore): Promise<LogState> {
  const [state, run] = (await store.run(LOOK, [], 'read')) as readonly [LogState, string?];
  if (run === undefined) return state;
  const node = await nodeOf(store, run);
  if (node === undefined) return 'failing';
  try {
    await store.ask(['BGREWRITEAOF'], node);
  } catch (error) {
    if (isCoordinationError(error, 'BACKEND_UNAVAILABLE')) throw error;
    if (isCoordinationError(error, 'NOT_SUPPORTED')) return 'refused';
    // Another process of the mesh, or another mesh, may have asked for it just now.
    if (!(error instanceof Error && error.message.includes('already in progress'))) return 'failing';
  }
  return state;
}

/** In a cluster a command that names no key goes to any node, and another master may be away: whichever is the one answers. */
async function nodeOf(store: RedisStore, run: string): Promise<RedisClient | undefined> {
  const asked = store.masters.map(async (node) => {
    if (!String(await store.ask(['INFO', 'server'], node)).includes(run)) throw new Error('another node');
    return node;
  });
  return Promise.any(asked).catch(() => undefined);
}

function problemsOf(state: LogState): readonly Problem[] {
  if (state !== 'refused' && state !== 'failing') return [];
  const why =
    state === 'refused'
      ? 'BGREWRITEAOF is not allowed on this connection'
      : 'its append-only file could not be written anew so far';
  return [
    {
      code: 'AOF_UNREPAIRED',
      severity: 'warn',
      message: `Redis was started anew and ${why}: if it had died in the middle of a transaction, its next start may carry that out in part`,
      hint: 'Look at its log and its disk; run BGREWRITEAOF, or `redis-check-aof --fix` before each start after a crash; or allow the command.',
    },
  ];
}
