import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import { LEASE_MS, within, type World } from './stores.ts';
import type { WorkerCommand, WorkerNews, WorkerOrder } from './worker.ts';

const WORKER = fileURLToPath(new URL('./worker.ts', import.meta.url));

/** A worker in a process of its own, and all that it has told. */
export class WorkerProcess {
  readonly #child: ChildProcess;
  readonly news: WorkerNews[] = [];

  private constructor(order: WorkerOrder) {
    this.#child = fork(WORKER, [JSON.stringify(order)], { execArgv: [] });
    this.#child.on('message', (news: WorkerNews) => this.news.push(news));
    onTestFinished(() => this.kill());
  }

  /** Resolves when it works. */
  static async start(world: World, more: Partial<WorkerOrder> = {}): Promise<WorkerProcess> {
    const worker = new WorkerProcess({ world, leaseMs: LEASE_MS, ...more });
    await worker.heard(({ ready }) => ready);
    return worker;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get isGone(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** The first of its news that says so. @throws when it doesn't within 10 s */
  async heard<T>(pick: (news: WorkerNews) => T | undefined): Promise<T> {
    const found = await within(10_000, () => {
      for (const news of this.news) {
        const picked = pick(news);
        if (picked !== undefined) return picked;
      }
      return undefined;
    });
    if (found === undefined) throw new Error(`Worker ${this.pid} said only ${JSON.stringify(this.news)}`);
    return found;
  }

  tell(command: WorkerCommand): void {
    this.#child.send(command);
  }

  signal(name: 'SIGSTOP' | 'SIGCONT'): void {
    this.#child.kill(name);
  }

  /** kill -9. */
  kill(): Promise<void> {
    return this.#end('SIGKILL');
  }

  /** In good order. */
  stop(): Promise<void> {
    return this.#end('SIGTERM');
  }

  async #end(name: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    if (this.isGone) return;
    const gone = once(this.#child, 'exit');
    this.#child.kill(name);
    await gone;
  }
}
