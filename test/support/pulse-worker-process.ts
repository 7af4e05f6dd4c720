import { writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { CoordinationManager } from '../../src/index.ts';
import type { Pulse } from '../../src/core/ports/backend.ts';
import { backendAt, type WorkerSettings } from './pulse-process.ts';

/** What {@link WorkerProcess} runs. It speaks synchronously, for its loop is blocked. */

const { session, ...place } = JSON.parse(process.argv[2] as string) as WorkerSettings;
const say = (text: string): void => void writeSync(1, `${text}\n`);

const backend = backendAt(place);
let thread: Pulse | undefined;
const mesh = new CoordinationManager({
  backend: { ...backend, pulse: (...how) => (thread = backend.pulse?.(...how)) },
  session,
  env: {},
});
mesh.events.on('session:expired', () => say('session expired'));
mesh.events.on('task:completed', () => say('task completed'));
await mesh.initialize();
mesh.registerAgent({
  id: 'worker',
  capabilities: ['block'],
  handler: ({ task }) => {
    say('begun');
    const { ms } = task.input as { readonly ms: number };
    // Blocks the loop as a busy handler does, and leaves the machine to others.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
    say('blocked no more');
    return 'worker';
  },
});
const lock = await mesh.acquire('db');
// It takes a moment to come up, longer than these short leases leave.
while ((thread?.agoMs() ?? 0) === Number.POSITIVE_INFINITY) await sleep(10);
lock.signal.addEventListener('abort', () => say('lock lost'));
say('locked');
process.stdin.once('data', () => {
  void mesh.shutdown().then(() => {
    process.stdin.destroy();
    say('down');
  });
});
