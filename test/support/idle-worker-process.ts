import { writeSync } from 'node:fs';
import { CoordinationManager } from '../../src/index.ts';
import { backendAt, type MeshPlace } from './pulse-process.ts';

/** A worker that has nothing to do, once it has done a task and got a message. Says when it is idle, and on each line that comes in the CPU time it has used, µs. */

const place = JSON.parse(process.argv[2] as string) as MeshPlace;
const mesh = new CoordinationManager({ backend: backendAt(place), env: {} });
await mesh.initialize();
for (const id of ['a', 'b']) mesh.registerAgent({ id, handler: () => 1 });
const got = Promise.withResolvers<void>();
mesh.subscribe('c', () => got.resolve());
await mesh.runTask({ type: 'x' });
await mesh.sendMessage('a', 'c', 1);
await got.promise;
writeSync(1, 'idle\n');
process.stdin.on('data', () => {
  const { user, system } = process.cpuUsage();
  writeSync(1, `${user + system}\n`);
});
process.stdin.on('end', () => void mesh.shutdown());
