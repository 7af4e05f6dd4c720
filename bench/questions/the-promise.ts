import { turn } from '../harness/mesh.ts';
import { defineQuestion, type Scale } from '../harness/question.ts';
import { quantile } from '../harness/statistics.ts';
import { CoordinationManager } from '../ours.ts';

/**
 * The predecessor's promise, which it never measured: 100 agents, 1,000 queued tasks, 500 resources and 10,000 messages a minute together.
 * Latencies are taken where the caller stands; p99 of each.
 */
const AGENTS = 100;
const RESOURCES = 500;
const QUEUED = 1_000;
const MESSAGES_PER_SECOND = 10_000 / 60;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

interface Samples {
  readonly assignment: number[];
  readonly acquisition: number[];
  readonly delivery: number[];
  readonly conflict: number[];
  readonly deadlock: number[];
}

async function run(scale: Scale, disturb: boolean): Promise<Record<string, number>> {
  const mesh = new CoordinationManager({ resourceTimeout: 30_000, workStealing: false });
  await mesh.initialize();
  const samples: Samples = { assignment: [], acquisition: [], delivery: [], conflict: [], deadlock: [] };
  let over = false;
  let random = 1;
  const below = (n: number): number => {
    random = (Math.imul(random, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((random / 2 ** 32) * n);
  };

  const handler = async (): Promise<void> => {
    const from = performance.now();
    const lease = await mesh.acquire(`resource-${below(RESOURCES)}`);
    samples.acquisition.push(performance.now() - from);
    await sleep(below(20));
    await lease.release();
  };
  for (let i = 0; i < AGENTS; i++) {
    mesh.registerAgent({ id: `agent-${i}`, maxConcurrentTasks: 5, handler: { work: handler } });
    mesh.subscribe<{ readonly at: number }>(`agent-${i}`, ({ payload }) => {
      samples.delivery.push(performance.now() - payload.at);
    });
  }

  // An external agent takes the tasks whose assignment is measured: from the call to its event.
  const asked = new Map<string, number>();
  mesh.registerAgent({ id: 'external', maxConcurrentTasks: 1_000, capabilities: ['external'] });
  mesh.events.on('task:assigned', ({ taskId, claim }) => {
    const at = asked.get(taskId);
    if (at === undefined) return;
    asked.delete(taskId);
    samples.assignment.push(performance.now() - at);
    setImmediate(() => void mesh.completeTask(taskId, undefined, claim));
  });

  let queued = 0;
  const producer = async (): Promise<void> => {
    while (!over) {
      while (queued < QUEUED) {
        queued += 1;
        void mesh
          .submitTask({ type: 'work', priority: below(3) + 1 })
          .then((handle) => handle.result())
          .finally(() => (queued -= 1));
      }
      await sleep(2);
    }
  };
  const assigner = async (): Promise<void> => {
    for (let i = 0; !over; i++) {
      asked.set(`measured-${i}`, performance.now());
      void mesh.submitTask({ id: `measured-${i}`, type: 'told', capabilities: ['external'] });
      await sleep(5);
    }
  };
  const sender = async (): Promise<void> => {
    const from = performance.now();
    for (let sent = 0; !over; await sleep(5)) {
      for (; sent < ((performance.now() - from) / 1_000) * MESSAGES_PER_SECOND; sent++)
        void mesh.sendMessage(`agent-${below(AGENTS)}`, `agent-${below(AGENTS)}`, { at: performance.now() });
    }
  };
  const quarrel = async (): Promise<void> => {
    for (let i = 0; !over; i++) {
      const from = performance.now();
      const conflict = await mesh.conflicts.reportResourceConflict(`file-${i}`, ['agent-1', 'agent-2']);
      await mesh.conflicts.resolveConflict(conflict.id, 'priority', {
        agentPriorities: new Map([
          ['agent-1', 1],
          ['agent-2', 2],
        ]),
      });
      samples.conflict.push(performance.now() - from);
      await sleep(50);
    }
  };
  /** Two owners take two locks crosswise; from the closing call to the victim's error. */
  const crossed = async (): Promise<void> => {
    for (let i = 0; !over; i++) {
      const [left, right] = [`x-${i}`, `y-${i}`];
      const a = await mesh.acquire(left, { owner: `a-${i}` });
      const b = await mesh.acquire(right, { owner: `b-${i}` });
      const waits = [mesh.acquire(right, { owner: `a-${i}` })];
      await turn();
      const from = performance.now();
      waits.push(mesh.acquire(left, { owner: `b-${i}` }));
      const outcomes = waits.map((wait, k) =>
        wait.then(
          (lease) => lease.release(),
          async () => {
            samples.deadlock.push(performance.now() - from);
            await (k === 0 ? a : b).release();
          },
        ),
      );
      await Promise.all(outcomes);
      await Promise.all([a.release(), b.release()].map((released) => released.catch(() => undefined)));
      await sleep(200);
    }
  };
  const disturber = async (): Promise<void> => {
    while (!over) {
      const until = performance.now() + 30;
      while (performance.now() < until);
      await sleep(20);
    }
  };

  const parts = [producer(), assigner(), sender(), quarrel(), crossed(), ...(disturb ? [disturber()] : [])];
  await sleep(scale.seconds * 1_000);
  over = true;
  await Promise.all(parts);
  for (const [name, found] of Object.entries(samples))
    if ((found as number[]).length === 0) throw new Error(`no sample of ${name}`);
  return {
    assignment: quantile(samples.assignment, 0.99),
    acquisition: quantile(samples.acquisition, 0.99),
    delivery: quantile(samples.delivery, 0.99),
    conflict: quantile(samples.conflict, 0.99),
    deadlock: quantile(samples.deadlock, 0.99),
    'messages a minute': (samples.delivery.length / scale.seconds) * 60,
  };
}

export const thePromise = defineQuestion({
  name: 'the-promise',
  asks: 'p99 with 100 agents, 1,000 queued tasks, 500 resources and 10,000 messages a minute together (--seconds, 60)',
  rounds: 1,
  metrics: [
    { name: 'assignment', unit: 'ms' },
    { name: 'acquisition', unit: 'ms' },
    { name: 'delivery', unit: 'ms' },
    { name: 'conflict', unit: 'ms' },
    { name: 'deadlock', unit: 'ms' },
    { name: 'messages a minute', unit: 'count' },
  ],
  contestants: {
    agentmesh: { run: (scale) => run(scale, false) },
    'a blocked loop': {
      note: 'ours, with handlers that block the loop for 30 of each 50 ms',
      run: (scale) => run({ ...scale, seconds: Math.min(scale.seconds, 10) }, true),
    },
  },
  control: {
    contestant: 'a blocked loop',
    metric: 'assignment',
    by: 2,
    why: 'synchronous work that blocks the loop',
  },
  goals: [
    { text: 'assignment p99 < 10 ms', metric: 'assignment', value: 10 },
    { text: 'acquisition p99 < 50 ms', metric: 'acquisition', value: 50 },
    { text: 'delivery p99 < 1 ms', metric: 'delivery', value: 1 },
    { text: 'conflict p99 < 100 ms', metric: 'conflict', value: 100 },
    { text: 'deadlock p99 < 1 s', metric: 'deadlock', value: 1_000 },
  ],
});
