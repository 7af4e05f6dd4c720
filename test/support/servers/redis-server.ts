import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { endWithUs } from './end-with-us.ts';
import { freePort } from './free-port.ts';

const run = promisify(execFile);
const READY_MS = 20_000;

export interface RedisServerOptions {
  /** On disk before each answer (`appendfsync always`), as a crash test needs it. @default false: AOF every second */
  readonly durable?: boolean;
  /** More settings for the command line, e.g. `['--requirepass', 'x']`. */
  readonly settings?: readonly string[];
}

/** A Redis server of our own. */
export interface RedisServer {
  readonly url: string;
  readonly port: number;
  /** Its data directory. */
  readonly dir: string;
  /** Runs redis-cli against it and answers what that prints. */
  cli(...args: string[]): Promise<string>;
  /** Ends it at once, as a crash does. Its data directory stays. */
  kill9(): Promise<void>;
  /**
   * Starts it again on the same port and data. A Redis that died while it wrote its log anew gives up once, having cut the old log's end off; so
   * it is started twice, as a supervisor does.
   */
  start(): Promise<void>;
  /** Ends it and removes its data. */
  stop(): Promise<void>;
}

/**
 * Starts a private redis-server on a free port with a data directory of its own.
 * @throws when there is none and it can't be installed
 */
export async function startRedis(options: RedisServerOptions = {}): Promise<RedisServer> {
  await installRedis();
  const dir = mkdtempSync(join(tmpdir(), 'agentmesh-redis-'));
  const settings = options.settings ?? [];
  const password = settings[settings.indexOf('--requirepass') + 1] ?? '';
  const auth = settings.includes('--requirepass') ? ['-a', password, '--no-auth-warning'] : [];
  let child: ChildProcess | undefined;
  let port = 0;
  const launch = async (): Promise<void> => {
    const args = argumentsOf(port, dir, options.durable === true, settings);
    child = spawn('redis-server', args, { stdio: ['ignore', 'pipe', 'pipe'] });
    endWithUs(child, dir);
    await whenReady(child);
  };
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    await once(child, 'exit');
  };
  for (let tries = 1; ; tries++) {
    port = await freePort();
    try {
      await launch();
      break;
    } catch (error) {
      // Somebody may have taken the port meanwhile.
      if (tries === 3) throw error;
    }
  }
  return {
    url: `redis://${auth.length === 0 ? '' : `:${encodeURIComponent(password)}@`}127.0.0.1:${port}`,
    port,
    dir,
    cli: async (...args) => (await run('redis-cli', ['-p', String(port), ...auth, ...args])).stdout.trim(),
    kill9: () => end('SIGKILL'),
    start: () => launch().catch(launch),
    async stop() {
      await end('SIGKILL');
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/**
 * The Redis that a whole test run shares: `AGENTMESH_REDIS_URL` where that is set, else a private one. It may hold other data: tests use a
 * prefix of their own and never flush it.
 */
export async function findRedis(): Promise<{ readonly url: string; stop(): Promise<void> }> {
  const url = process.env['AGENTMESH_REDIS_URL'];
  if (url !== undefined && url !== '') return { url, stop: () => Promise.resolve() };
  return startRedis();
}

function argumentsOf(port: number, dir: string, durable: boolean, settings: readonly string[]): string[] {
  const fsync = durable ? 'always' : 'everysec';
  const ours = ['--bind', '127.0.0.1', '--port', String(port), '--dir', dir, '--save', ''];
  return [
    ...ours,
    '--appendonly',
    'yes',
    '--appendfsync',
    fsync,
    '--enable-debug-command',
    'yes',
    ...settings,
  ];
}

/** Resolves when this very child says that it is ready; a taken port makes it exit instead. */
function whenReady(child: ChildProcess): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let log = '';
  const read = (data: Buffer): void => {
    log += data.toString('utf8');
    if (log.includes('Ready to accept connections')) resolve();
  };
  child.stdout?.on('data', read);
  child.stderr?.on('data', read);
  child.once('error', reject);
  child.once('exit', (code) => reject(new Error(`redis-server exited with ${code}: ${log.slice(-400)}`)));
  const timer = setTimeout(
    () => reject(new Error(`redis-server is not ready: ${log.slice(-400)}`)),
    READY_MS,
  );
  return promise.finally(() => clearTimeout(timer));
}

let installing: Promise<void> | undefined;

/** Makes sure that redis-server is there. On Debian and Ubuntu, as root, it is installed. @throws with what to install */
export function installRedis(): Promise<void> {
  installing ??= install();
  return installing;
}

async function install(): Promise<void> {
  if (isThere()) return;
  const why = 'Redis is needed: set AGENTMESH_REDIS_URL, or install redis-server 7.0 or newer';
  if (process.getuid?.() !== 0 || !isDebian())
    throw new Error(`${why} (Debian: apt-get install redis-server)`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  await run('apt-get', ['update'], { env });
  // The package would start a server of its own on the default port.
  await run('apt-get', ['install', '-y', '--no-install-recommends', 'redis-server'], {
    env: { ...env, RUNLEVEL: '1' },
  });
  if (!isThere()) throw new Error(why);
}

function isThere(): boolean {
  try {
    execFileSync('redis-server', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

function isDebian(): boolean {
  try {
    return /\b(debian|ubuntu)\b/i.test(readFileSync('/etc/os-release', 'utf8'));
  } catch {
    return false;
  }
}
