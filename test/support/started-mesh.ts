import { onTestFinished } from 'vitest';
import {
  CoordinationManager,
  type CoordinationEvent,
  type CoordinationOptions,
  EventBus,
} from '../../src/index.ts';
import { memory } from '../../src/backends/memory/memory.ts';
import { networked } from '../../src/testing/networked.ts';
import { createTestClock, type TestClock } from '../../src/testing/test-clock.ts';

type Name = CoordinationEvent['name'];
type PayloadOf<N extends Name> = Extract<CoordinationEvent, { readonly name: N }>['payload'];

export type MeshOptions = Omit<CoordinationOptions, 'clock'> & { readonly clock?: TestClock };

/** A manager on simulated time, not started, with every event it reports. It is shut down when the test is over. */
export function createMesh({ clock = createTestClock(), ...options }: MeshOptions = {}) {
  if (process.env['MESH_FAR'] === '1')
    Object.assign(clock, { soon: (fn: () => void) => void setImmediate(fn) });
  const events = new EventBus({ clock });
  const log: CoordinationEvent[] = [];
  events.tap((event) => log.push(event));
  const far = process.env['MESH_FAR'] === '1' ? { backend: networked(memory({ shared: true })) } : {};
  const mesh = new CoordinationManager({ clock, seed: 5, env: {}, ...far, ...options }, events);
  const down = async (): Promise<void> => {
    const over = mesh.shutdown();
    await clock.advance(60_000);
    await over;
  };
  onTestFinished(down);
  /** The payloads of one event, in order. */
  const named = <N extends Name>(name: N): readonly PayloadOf<N>[] =>
    log.flatMap((event) => (event.name === name ? [event.payload as PayloadOf<N>] : []));
  return { mesh, clock, events, log, named, down };
}

/** The same, started. */
export async function startMesh(options: MeshOptions = {}) {
  const world = createMesh(options);
  await world.mesh.initialize();
  return world;
}
