import { postgres } from '../../../src/backends/postgres/index.ts';
import { redis } from '../../../src/backends/redis/index.ts';
import type { Backend } from '../../../src/core/ports/backend.ts';
import { CoordinationManager, type CoordinationOptions, type TaskSpec } from '../../../src/index.ts';
import type { OpenSystem, Payload, Place, System } from './system.ts';

const TYPE = 'bench';

export interface OwnVariant {
  readonly name: string;
  readonly note?: string;
  /** Options beside the backend. Without: as users get it. */
  readonly options?: CoordinationOptions;
  /** What a task has beside type and input. */
  readonly fields?: (n: number) => Partial<TaskSpec>;
  /** What an agent has beside slots and handler. */
  readonly capabilities?: readonly string[];
  /** Another backend in place of the plain one. */
  readonly wrap?: (backend: Backend) => Backend;
}

export function backendOf({ backend, url }: Place): Backend {
  return backend === 'postgres' ? postgres({ url }) : redis({ url });
}

/** Ours: every task with its record, audit trail, result by id and duplicate check. */
export function agentmesh(variant: OwnVariant = { name: 'agentmesh' }): System {
  const { name, note } = variant;
  return { name, ...(note === undefined ? {} : { note }), open: (place) => openOwn(place, variant) };
}

export interface OpenOwn extends OpenSystem {
  readonly mesh: CoordinationManager;
  /** Tasks in each state, by the store. */
  states(): Promise<Readonly<Record<string, number>>>;
}

export async function openOwn(place: Place, variant: OwnVariant = { name: 'agentmesh' }): Promise<OpenOwn> {
  const { options = {}, fields, capabilities = [], wrap = (backend: Backend) => backend } = variant;
  const backend = wrap(backendOf(place));
  const mesh = await CoordinationManager.start({ ...options, backend });
  const taskOf = (payload: Payload): TaskSpec =>
    fields === undefined
      ? { type: TYPE, input: payload }
      : { type: TYPE, input: payload, ...fields(payload.n) };
  return {
    mesh,
    states: () => statesOf(backend),
    one: (payload) => mesh.submitTask(taskOf(payload)),
    many: async (payloads) => (await mesh.submitTasks(payloads.map(taskOf))).map(({ id }) => id),
    work: async (slots, handler) => {
      mesh.registerAgent({
        id: `bench-${process.pid}`,
        maxConcurrentTasks: slots,
        capabilities: [...capabilities],
        handler: { [TYPE]: (context) => handler(context.task.input as Payload) },
      });
    },
    async isDrained() {
      const states = await statesOf(backend);
      return ['ready', 'waiting', 'scheduled', 'claimed'].every((state) => (states[state] ?? 0) === 0);
    },
    completed: async () => (await statesOf(backend))['completed'] ?? 0,
    result: async (id) => (await mesh.getTask(id))?.state,
    close: async () => {
      await mesh.shutdown();
    },
  };
}

async function statesOf({ tasks }: Backend): Promise<Readonly<Record<string, number>>> {
  const counts = await tasks?.counts([TYPE]);
  return counts?.queues[0]?.states ?? {};
}
