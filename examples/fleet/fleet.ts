import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { WorkerOrder } from './worker.ts';

const WORKER = fileURLToPath(new URL('./worker.ts', import.meta.url));
/** Whoever takes a killed worker's place is up in half the time: what was compiled for the first ones is kept, where Node keeps it by default. */
const CACHE = { NODE_COMPILE_CACHE: join(tmpdir(), 'node-compile-cache') };

/** A worker process in its place; after a kill another one takes it. */
export interface Place {
  readonly number: number;
  pid: number;
  state: 'starting' | 'working' | 'paused' | 'killed';
  kills: number;
  pauses: number;
}

/** Worker processes, each started again when it ends. */
export class Fleet {
  readonly #order: Omit<WorkerOrder, 'worker'>;
  readonly #children = new Map<number, ChildProcess>();
  readonly places: Place[] = [];
  #isOver = false;

  constructor(order: Omit<WorkerOrder, 'worker'>) {
    this.#order = order;
  }

  /** Resolves when all work. */
  async start(workers: number): Promise<void> {
    await Promise.all(
      Array.from({ length: workers }, (_, number) => {
        const place: Place = { number, pid: 0, state: 'starting', kills: 0, pauses: 0 };
        this.places.push(place);
        return this.#launch(place);
      }),
    );
  }

  async #launch(place: Place): Promise<void> {
    const order: WorkerOrder = { ...this.#order, worker: place.number };
    const child = fork(WORKER, [JSON.stringify(order)], {
      env: { ...CACHE, ...process.env },
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    this.#children.set(place.number, child);
    place.pid = child.pid ?? 0;
    place.state = 'starting';
    child.once('exit', (code) => {
      if (this.#isOver) return;
      if (place.state !== 'killed') process.stderr.write(`Worker ${place.number} ended with ${code}\n`);
      void this.#launch(place);
    });
    await once(child, 'message');
    if (place.pid === child.pid && place.state === 'starting') place.state = 'working';
  }

  /** Stops a worker where it is: nothing of it goes on. */
  freeze(place: Place): void {
    place.state = 'paused';
    this.#children.get(place.number)?.kill('SIGSTOP');
  }

  thaw(place: Place): void {
    this.#children.get(place.number)?.kill('SIGCONT');
    if (place.state === 'paused') place.state = 'working';
  }

  kill(place: Place): void {
    place.state = 'killed';
    this.#children.get(place.number)?.kill('SIGKILL');
  }

  /** @param name SIGTERM: in good order */
  async stop(name: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    this.#isOver = true;
    await Promise.all(
      [...this.#children.values()].map(async (child) => {
        if (child.exitCode !== null || child.signalCode !== null) return;
        const gone = once(child, 'exit');
        child.kill('SIGCONT');
        child.kill(name);
        await gone;
      }),
    );
  }
}
