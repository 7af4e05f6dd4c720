import { readdirSync, readFileSync } from 'node:fs';
import { Redis } from 'ioredis';
import pg from 'pg';
import type { Place } from '../systems/system.ts';

/** One tick of `/proc/<pid>/stat`, µs. */
const TICK_US = 10_000;

/** CPU time since then, µs. Unlike rates it hardly depends on what else the machine does. */
export interface CpuTime {
  readonly client: number;
  /** All processes of the server; NaN where there is no `/proc`. */
  readonly server: number;
}

/** Starts to measure; what it returns says how much it was until then. */
export async function startCpu(place: Place): Promise<() => Promise<CpuTime>> {
  const serverFrom = await serverUs(place);
  const from = process.cpuUsage();
  return async () => {
    const { user, system } = process.cpuUsage(from);
    return { client: user + system, server: (await serverUs(place)) - serverFrom };
  };
}

async function serverUs({ backend, url }: Place): Promise<number> {
  if (backend === 'redis') {
    const client = new Redis(url);
    const info = await client.info('cpu');
    client.disconnect();
    const seconds = (name: string): number => Number(new RegExp(`${name}:([\\d.]+)`).exec(info)?.[1]);
    return (seconds('used_cpu_sys') + seconds('used_cpu_user')) * 1e6;
  }
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const { rows } = await client.query<{ text: string }>(`select pg_read_file('postmaster.pid') as text`);
  await client.end();
  return treeUs(Number.parseInt(rows[0]?.text ?? '', 10));
}

/** Of a process, of its children, and of those that have ended. */
function treeUs(root: number): number {
  let ticks = Number.NaN;
  let children = 0;
  for (const name of folders()) {
    const [parent, own, reaped] = statOf(name);
    if (Number(name) === root) ticks = own + reaped;
    else if (parent === root) children += own;
  }
  return (ticks + children) * TICK_US;
}

function folders(): readonly string[] {
  try {
    return readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  } catch {
    return [];
  }
}

/** Parent, ticks of its own, ticks of children that it has waited for. */
function statOf(pid: string): readonly [number, number, number] {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ')
      .map(Number);
    const [, parent = 0] = fields;
    const [own, system, reaped, reapedSystem] = fields.slice(11, 15) as [number, number, number, number];
    return [parent, own + system, reaped + reapedSystem];
  } catch {
    // It has ended meanwhile.
    return [0, 0, 0];
  }
}
