import { CoordinationError } from '../../core/errors.ts';
import type { RedisStore } from './connection.ts';
import { defineScript } from './scripts.ts';

/**
 * The run of the server that has the mesh, as `meta` knew it before and as it is now. Answers nothing where INFO may not be asked, without a log, and in a
 * cluster, where a command that names no key goes to any node.
 */
const RUN = defineScript(
  'server-run',
  /* lua */ `
local server, persistence = redis.pcall('INFO', 'server'), redis.pcall('INFO', 'persistence')
if type(server) ~= 'string' or type(persistence) ~= 'string' then return {} end
if not string.find(persistence, 'aof_enabled:1', 1, true) or string.find(server, 'redis_mode:cluster', 1, true) then return {} end
return { string.match(server, 'run_id:(%w+)') or '', redis.call('HGET', K .. 'meta', 'run') or '' }
`,
);

const KNOW_RUN = defineScript('know-run', `redis.call('HSET', K .. 'meta', 'run', ARGV[1])`);

/**
 * Has the append-only file written anew when the server was started since the mesh last looked.
 *
 * A Redis that dies in the middle of a write leaves the beginning of a transaction at the end of the file. When it starts, it leaves that out, as it should,
 * but cuts off only the command that was cut short (seen in 7.0.15; Valkey mended it in 2026, pull request 4342). What comes later is added behind, so the
 * *next* start would carry that beginning out beside it: tasks would be ready twice. Written from memory, the file has no such end.
 *
 * @returns false when the server refuses: then whoever runs it has to do it
 * @throws BACKEND_UNAVAILABLE
 */
export async function repairAfterCrash(store: RedisStore): Promise<boolean> {
  const [run = '', known = ''] = (await store.run(RUN, [], 'read')) as readonly string[];
  if (run === known) return true;
  if (known !== '') {
    try {
      await store.read('BGREWRITEAOF');
    } catch (error) {
      if (!(error instanceof CoordinationError) || error.code === 'BACKEND_UNAVAILABLE') throw error;
      // Another process of the mesh, or another mesh, may have asked for it just now.
      if (!error.message.includes('already in progress')) return false;
    }
  }
  await store.run(KNOW_RUN, [run], 'write');
  return true;
}
