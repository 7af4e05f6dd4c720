import { setTimeout as sleep } from 'node:timers/promises';
import { createRandom } from '../../src/core/runtime/random.ts';
import { CoordinationManager, EventBus, isCoordinationError } from '../../src/index.ts';
import { Journal } from './journal.ts';
import { openLedger } from './ledger.ts';
import { Gate } from './work/gate.ts';
import { locking, notingWaits } from './work/locks.ts';
import { receiving, sending } from './work/messages.ts';
import { codeOf, type WorkParts } from './work/parts.ts';
import { handlerOf, submitting } from './work/tasks.ts';
import { backendOf, type World } from './world.ts';

/** What a worker process is told, as JSON in its first argument. */
export interface WorkerOrder {
  readonly world: World;
  readonly place: number;
  readonly places: number;
  /** `<place>.<boot>` */
  readonly p: string;
  readonly folder: string;
  readonly leaseMs: number;
  readonly slots: number;
  readonly seed: string;
  /** Only runs tasks and submits them. */
  readonly tasksOnly: boolean;
}

/** What the conductor says, and what it hears. */
export type CrewCall = 'calm' | 'go' | 'stop';
export type CrewWord = 'ready' | 'calm';

const order = JSON.parse(process.argv[2] ?? '') as WorkerOrder;
const { world, place, places, p, folder, leaseMs, slots, seed } = order;
const journal = new Journal(folder, p);
journal.note({ e: 'start', pid: process.pid });
const say = (word: CrewWord): void => void process.send?.(word);
process.on('unhandledRejection', (error) => {
  journal.note({ e: 'odd', what: `unhandled rejection: ${codeOf(error)} ${(error as Error).stack ?? ''}` });
});
process.on('uncaughtException', (error) => {
  journal.note({ e: 'odd', what: `uncaught exception: ${codeOf(error)} ${error.stack ?? ''}` });
});
// Whoever started us is gone.
process.on('disconnect', () => process.exit(0));

const ledger = openLedger(world);
const events = new EventBus();
const mesh = await start();
const random = createRandom(`${seed} ${p}`);
const gate = new Gate();
let numbers = 0;
const next = (): number => {
  numbers += 1;
  return numbers;
};
const parts: WorkParts = { mesh, ledger, journal, random, gate, p, places, next };
notingWaits(events, parts);
mesh.registerAgent({ id: `agent-${p}`, maxConcurrentTasks: slots, handler: handlerOf(parts) });
if (!order.tasksOnly) await receivingAtLast();

process.on('message', (call: CrewCall) => {
  if (call === 'go') gate.open();
  else if (call === 'calm') {
    void gate.calm().then(() => {
      journal.note({ e: 'calm' });
      say('calm');
    });
  } else void mesh.shutdown().finally(() => process.exit(0));
});
say('ready');
const steps = [submitting(parts), submitting(parts)];
if (!order.tasksOnly) steps.push(locking(parts), locking(parts), locking(parts), sending(parts));
for (const step of steps) void gate.loop(step);

/** The server may be away just now. */
async function start(): Promise<CoordinationManager> {
  for (;;) {
    const backend = backendOf(world, world.url);
    try {
      return await CoordinationManager.start({
        backend,
        events,
        session: { leaseMs },
        scheduling: { maxCrashes: 50 },
        messaging: { maxDeliveries: 50 },
        metrics: false,
      });
    } catch (error) {
      if (!isCoordinationError(error)) throw error;
      await backend.stop();
      await sleep(100);
    }
  }
}

async function receivingAtLast(): Promise<void> {
  while (!(await receiving(parts, place))) await sleep(100);
}
