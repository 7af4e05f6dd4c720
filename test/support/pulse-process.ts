import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { postgres } from '../../src/backends/postgres/postgres.ts';
import { redis } from '../../src/backends/redis/redis.ts';
import type { Backend } from '../../src/core/ports/backend.ts';
import type { SessionOptions } from '../../src/manager-options.ts';

/** Where a mesh is, in words that fit on a command line. */
export interface MeshPlace {
  readonly kind: 'redis' | 'postgres';
  readonly url: string;
  readonly mesh: string;
}

export interface WorkerSettings extends MeshPlace {
  readonly session: SessionOptions;
}

export function backendAt({ kind, url, mesh }: MeshPlace): Backend {
  return kind === 'redis' ? redis({ url, prefix: 'agentmesh-test', mesh }) : postgres({ url, schema: mesh });
}

/**
 * A worker in a process of its own: holds the lock `db`, and has an agent whose tasks block its event loop for `input.ms`. It says what
 * happens to it.
 */
export class WorkerProcess implements AsyncDisposable {
  readonly said: string[] = [];
  /** What drivers and Node printed beside. */
  errors = '';
  readonly #child: ChildProcess;
  readonly #listeners = new Set<() => void>();

  private constructor(child: ChildProcess) {
    this.#child = child;
    createInterface({ input: child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
      this.said.push(line);
      for (const listener of this.#listeners) listener();
    });
    child.stderr?.on('data', (chunk: Buffer) => (this.errors += chunk.toString('utf8')));
  }

  /** Resolves when it has its lock. */
  static async start(settings: WorkerSettings): Promise<WorkerProcess> {
    const file = fileURLToPath(new URL('./pulse-worker-process.ts', import.meta.url));
    const child = spawn(process.execPath, [file, JSON.stringify(settings)], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const worker = new WorkerProcess(child);
    await worker.until('locked');
    return worker;
  }

  /** Resolves when it has said this. */
  async until(text: string, withinMs = 30_000): Promise<void> {
    const limit = Promise.withResolvers<never>();
    const timer = setTimeout(
      () => limit.reject(new Error(`No "${text}" in: ${this.said.join(', ')}\n${this.errors}`)),
      withinMs,
    );
    try {
      while (!this.said.includes(text)) {
        const next = Promise.withResolvers<void>();
        this.#listeners.add(next.resolve);
        await Promise.race([next.promise, limit.promise]);
        this.#listeners.delete(next.resolve);
      }
    } finally {
      clearTimeout(timer);
    }
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** Shuts its mesh down; it has to end by itself then. @returns its exit code */
  async shutdown(): Promise<number | null> {
    if (this.#child.exitCode === null) {
      const gone = once(this.#child, 'exit');
      this.#child.stdin?.end('stop\n');
      await gone;
    }
    return this.#child.exitCode;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await gone;
  }
}
