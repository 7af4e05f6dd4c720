import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { endWithUs } from './end-with-us.ts';
import { freePort } from './free-port.ts';

/** A PostgreSQL server for tests. */
export interface PostgresServer {
  /** A database of its own, empty at first. */
  readonly url: string;
  /** Kills every process of the server at once, as a power cut would; {@link restart} brings it back with what was on disk. */
  kill9(): Promise<void>;
  /** Starts it again on the same port and data. */
  restart(): Promise<void>;
  /** Pauses and resumes its processes (SIGSTOP, SIGCONT). */
  freeze(): void;
  thaw(): void;
  stop(): Promise<void>;
}

export interface PostgresServerOptions {
  /** Whether it writes to disk before it answers, as it would in earnest. @default false */
  readonly durable?: boolean;
  /** More settings, as `name=value`. */
  readonly settings?: readonly string[];
  /** A server of this call's own even if AGENTMESH_POSTGRES_URL names one: for tests that kill it. @default false */
  readonly own?: boolean;
}

const INSTALLED = '/usr/lib/postgresql';

/**
 * A server: the one that AGENTMESH_POSTGRES_URL names (with a new database in it), else one of this machine's binaries, started for this
 * call on a free port, else what `apt-get` installs on Debian as root.
 */
export async function startPostgres(options: PostgresServerOptions = {}): Promise<PostgresServer> {
  const given = process.env['AGENTMESH_POSTGRES_URL'];
  if (given !== undefined && given !== '' && options.own !== true) return outside(given);
  return startOwn(binaries(), options);
}

/** A new database on a server that somebody else runs. */
async function outside(url: string): Promise<PostgresServer> {
  const name = `agentmesh_test_${randomBytes(6).toString('hex')}`;
  await onServer(url, `create database ${name}`);
  const ours = new URL(url);
  ours.pathname = `/${name}`;
  const not = (): never => {
    throw new Error('The server of AGENTMESH_POSTGRES_URL is not ours to kill');
  };
  return {
    url: ours.href,
    kill9: async () => not(),
    restart: async () => not(),
    freeze: not,
    thaw: not,
    stop: () => onServer(url, `drop database ${name} with (force)`),
  };
}

async function onServer(url: string, text: string): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
  await client.connect();
  try {
    await client.query(text);
  } finally {
    await client.end();
  }
}

/** The folder with initdb and postgres. */
function binaries(): string {
  const found = installed();
  if (found !== undefined) return found;
  if (process.getuid?.() === 0 && existsSync('/usr/bin/apt-get')) {
    const apt = (...args: readonly string[]): unknown =>
      execFileSync('apt-get', args, {
        stdio: 'ignore',
        env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
      });
    apt('update');
    apt('install', '-y', '--no-install-recommends', 'postgresql');
    const fresh = installed();
    if (fresh !== undefined) return fresh;
  }
  throw new Error(
    'The tests need PostgreSQL: install it (apt-get install postgresql), or name a server with AGENTMESH_POSTGRES_URL=postgres://…',
  );
}

function installed(): string | undefined {
  if (existsSync(INSTALLED)) {
    const versions = readdirSync(INSTALLED).toSorted((a, b) => Number(b) - Number(a));
    const folder = versions
      .map((version) => join(INSTALLED, version, 'bin'))
      .find((bin) => existsSync(join(bin, 'initdb')));
    if (folder !== undefined) return folder;
  }
  return (process.env['PATH'] ?? '')
    .split(':')
    .find((folder) => existsSync(join(folder, 'initdb')) && existsSync(join(folder, 'postgres')));
}

interface Who {
  readonly uid?: number;
  readonly gid?: number;
}

/** PostgreSQL refuses to run as root. */
function asWhom(): Who {
  if (process.getuid?.() !== 0) return {};
  const id = (flag: string): number => Number(execFileSync('id', [flag, 'postgres']));
  return { uid: id('-u'), gid: id('-g') };
}

async function startOwn(bin: string, options: PostgresServerOptions): Promise<PostgresServer> {
  const who = asWhom();
  const folder = mkdtempSync(join(tmpdir(), 'agentmesh-pg-'));
  if (who.uid !== undefined) chownSync(folder, who.uid, who.gid ?? 0);
  const data = join(folder, 'data');
  const auth = ['-A', 'trust', '-U', 'postgres'];
  execFileSync(join(bin, 'initdb'), ['-D', data, ...auth, '--no-sync', '-E', 'UTF8', '--locale=C'], {
    ...who,
    cwd: folder,
    stdio: 'ignore',
  });
  const port = await freePort();
  const settings = [
    'listen_addresses=127.0.0.1',
    `unix_socket_directories=${folder}`,
    'max_connections=200',
    'log_checkpoints=off',
    ...(options.durable === true ? [] : ['fsync=off', 'full_page_writes=off', 'synchronous_commit=on']),
    ...(options.settings ?? []),
  ];
  const args = ['-D', data, '-p', String(port), ...settings.flatMap((setting) => ['-c', setting])];
  const launch = async (): Promise<ChildProcess> => {
    const child = spawn(join(bin, 'postgres'), args, {
      ...who,
      cwd: folder,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    await ready(child);
    return child;
  };
  let child = await launch();
  await mustBeOurs(port, data);
  endWithUs(child, folder);
  return {
    url: `postgres://postgres@127.0.0.1:${port}/postgres`,
    kill9: async () => {
      const gone = once(child, 'exit');
      // Stopped first: what it forks after its children were counted would outlive it, and keep its memory from the next one.
      child.kill('SIGSTOP');
      const pids = signalAll(child, 'SIGKILL');
      await gone;
      await ended(pids);
    },
    restart: async () => {
      child = await launch();
      endWithUs(child, folder);
    },
    freeze: () => signalAll(child, 'SIGSTOP'),
    thaw: () => signalAll(child, 'SIGCONT'),
    stop: async () => {
      if (child.exitCode === null && child.signalCode === null) {
        const gone = once(child, 'exit');
        // Fast shutdown: whoever is connected is sent away.
        child.kill('SIGINT');
        await gone;
      }
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** The processes that the postmaster forked are in groups of their own, so each is named. */
function signalAll(child: ChildProcess, name: NodeJS.Signals): readonly number[] {
  const children = execFileSync('ps', ['-o', 'pid=', '--ppid', String(child.pid)], { encoding: 'utf8' });
  const pids = children
    .split('\n')
    .map(Number)
    .filter((pid) => pid > 0);
  child.kill(name);
  for (const pid of pids) signal(pid, name);
  return pids;
}

/** False: it has ended by itself. */
function signal(pid: number, name: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, name);
  } catch {
    return false;
  }
}

/** Resolves when none of these processes is left. */
async function ended(pids: readonly number[]): Promise<void> {
  const until = performance.now() + 10_000;
  while (pids.some((pid) => signal(pid, 0))) {
    if (performance.now() > until) throw new Error(`Killed processes are still there: ${pids.join(', ')}`);
    await sleep(5);
  }
}

/** Resolves when our child says that it is ready; rejects when it ends first, because the port was taken, for example. */
function ready(child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    let log = '';
    const see = (chunk: Buffer): void => {
      // Clients that come while it recovers are refused with a line each: the end is what counts.
      log = (log + chunk.toString('utf8')).slice(-20_000);
      if (/ready to accept (read[- ]only )?connections/.test(log)) resolve();
    };
    child.stdout?.on('data', see);
    child.stderr?.on('data', see);
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`PostgreSQL ended with ${code}: ${log.slice(-400)}`)));
  });
}

/** Another server may have been faster to take the port. */
async function mustBeOurs(port: number, data: string): Promise<void> {
  const client = new pg.Client({ host: '127.0.0.1', port, user: 'postgres', database: 'postgres' });
  await client.connect();
  try {
    const { rows } = await client.query<{ place: string }>(
      `select current_setting('data_directory') as place`,
    );
    if (rows[0]?.place !== data) throw new Error(`Port ${port} belongs to another server: ${rows[0]?.place}`);
  } finally {
    await client.end();
  }
}
