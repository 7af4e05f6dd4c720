import { setTimeout as sleep } from 'node:timers/promises';
import { backendOf, type World } from '../../../examples/fleet/world.ts';
import { CoordinationManager, type Lease } from '../../../src/index.ts';

/** What a worker process is told, as JSON in its first argument. */
export interface WorkerOrder {
  readonly world: World;
  readonly leaseMs: number;
  readonly slots?: number;
  readonly maxCrashes?: number;
}

/** What a worker tells: what it runs, which lock it has, what became of a call. */
export interface WorkerNews {
  readonly ready?: true;
  readonly ran?: string;
  readonly token?: number;
  readonly aborted?: boolean;
}

export type WorkerCommand = { readonly lock: string; readonly leaseMs: number } | { readonly ask: 'aborted' };

const { world, leaseMs, slots = 4, maxCrashes } = JSON.parse(process.argv[2] ?? '') as WorkerOrder;
const tell = (news: WorkerNews): void => void process.send?.(news);
const mesh = await CoordinationManager.start({
  backend: backendOf(world),
  session: { leaseMs },
  ...(maxCrashes === undefined ? {} : { scheduling: { maxCrashes } }),
});
mesh.registerAgent({
  id: `worker-${process.pid}`,
  maxConcurrentTasks: slots,
  handler: {
    /** Takes as long as it says. */
    work: async ({ task }) => {
      tell({ ran: task.id });
      await sleep((task.input as { readonly ms: number }).ms);
      return { pid: process.pid };
    },
    /** Ends the process that runs it. */
    poison: ({ task }) => {
      tell({ ran: task.id });
      setTimeout(() => process.kill(process.pid, 'SIGKILL'), 20);
      return sleep(60_000);
    },
  },
});

let lease: Lease | undefined;
process.on('message', (command: WorkerCommand) => {
  if ('ask' in command) return tell({ aborted: lease?.signal.aborted === true });
  void mesh.locks.acquire(command.lock, { leaseMs: command.leaseMs }).then((granted) => {
    lease = granted;
    tell({ token: granted.token });
  });
});
process.on('SIGTERM', () => void mesh.shutdown().then(() => process.exit(0)));
tell({ ready: true });
