import { flushCompileCache } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';
import { CoordinationManager } from '../../src/index.ts';
import { openLedger } from './ledger.ts';
import { backendOf, CONCURRENCY, type World } from './world.ts';

/** What a worker process is told, as JSON in its first argument. */
export interface WorkerOrder {
  readonly world: World;
  readonly worker: number;
  readonly taskMs: number;
  readonly leaseMs: number;
  /** False: the control, which trusts its lease. */
  readonly fenced: boolean;
}

const { world, worker, taskMs, leaseMs, fenced } = JSON.parse(process.argv[2] ?? '') as WorkerOrder;
const ledger = openLedger(world);
const mesh = await CoordinationManager.start({ backend: backendOf(world), session: { leaseMs } });
mesh.registerAgent({
  id: `worker-${worker}`,
  maxConcurrentTasks: CONCURRENCY,
  handler: {
    effect: async (context) => {
      // Plain sleep: like most real work it doesn't know of the signal.
      await sleep(taskMs);
      if (fenced) await ledger.effect(context, worker);
      else await ledger.blindEffect(context, worker);
      return { worker };
    },
  },
});
process.on('SIGTERM', () => {
  void mesh
    .shutdown()
    .then(() => ledger.close())
    .then(() => process.exit(0));
});
process.send?.('ready');
// A process that is killed couldn't write it at its end.
flushCompileCache();
