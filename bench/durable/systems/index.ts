import { agentmesh } from './agentmesh.ts';
import { bullmq, bullmqRemoving } from './bullmq.ts';
import { graphileWorker } from './graphile-worker.ts';
import { pgBoss } from './pg-boss.ts';
import { slowed, unbatched } from './slowed.ts';
import type { System } from './system.ts';

const LATE_MS = 100;

export const ours = agentmesh();

/** Controls, which must lose. */
export const oursUnbatched = agentmesh({
  name: 'agentmesh, one by one',
  note: 'control: claims and ends a task at a time',
  wrap: unbatched,
});
export const oursLate = agentmesh({
  name: 'agentmesh, late',
  note: `control: each answer ${LATE_MS} ms late`,
  wrap: (backend) => slowed(backend, () => LATE_MS),
});

/** Whoever can be opened in another process, by name. */
export const systems: readonly System[] = [
  ours,
  oursUnbatched,
  oursLate,
  bullmq,
  bullmqRemoving,
  graphileWorker,
  pgBoss,
];

export function systemOf(name: string): System {
  const found = systems.find((system) => system.name === name);
  if (found === undefined) throw new Error(`no system ${name}`);
  return found;
}

/** Ours and who is measured beside it on this server. */
export function contenders(backend: 'postgres' | 'redis'): readonly System[] {
  return backend === 'redis' ? [ours, bullmq] : [ours, bullmq, graphileWorker, pgBoss];
}

export { bullmq, bullmqRemoving, graphileWorker, pgBoss };
