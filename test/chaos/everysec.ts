import { closeSync, ftruncateSync, mkdirSync, openSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { checkSurvivors } from './checks/checks.ts';
import { deeds, type Evidence, type Problem, type Rest, type Sample } from './checks/evidence.ts';
import { lostTasks } from './checks/tasks.ts';
import { Crew } from './crew.ts';
import { readJournals } from './journal.ts';
import { type Ledger, openLedger } from './ledger.ts';
import { Observer } from './observer.ts';
import { type ChaosServer, startServer } from './server.ts';
import type { World } from './world.ts';

const KILLS = 4;
const PLACES = 3;
const SLOTS = 4;
const BETWEEN_MS = 2_500;
/** What a machine that loses power may not have on disk yet, bytes of the append-only file. */
const UNWRITTEN = 40_000;
const REST_MS = 6_000;

export interface EverysecOptions {
  readonly seed: string;
  readonly leaseMs: number;
  readonly folder: string;
  readonly signal: AbortSignal;
  readonly say: (text: string) => void;
}

export interface EverysecResult {
  readonly problems: readonly Problem[];
  readonly evidence: Evidence;
  readonly kills: number;
  readonly truncated: number;
  readonly acknowledged: number;
  readonly lost: number;
  readonly surviving: number;
}

/**
 * Redis that writes to disk once a second, killed: acknowledged tasks may be lost, and are counted; of what survived T3, T4 and T9 hold. A
 * killed process loses little, for what it wrote is the kernel's; so the end of its file is cut off at every second kill, as when the power
 * goes.
 */
export async function runEverysec({
  seed,
  leaseMs,
  folder,
  signal,
  say,
}: EverysecOptions): Promise<EverysecResult> {
  mkdirSync(folder, { recursive: true });
  const server = await startServer('redis', false);
  const stops: (() => Promise<void>)[] = [() => server.stop()];
  try {
    const world: World = {
      backend: 'redis',
      url: server.url,
      direct: server.url,
      name: `seconds_${process.pid}`,
    };
    const ledger = openLedger(world);
    stops.unshift(() => ledger.close());
    const observer = await Observer.start(world);
    stops.unshift(() => observer.close());
    const place = { world, port: server.port, places: PLACES, folder };
    const crew = await Crew.start({ ...place, leaseMs, slots: SLOTS, seed, tasksOnly: true });
    stops.unshift(() => crew.stop());
    const samples: Sample[] = [];
    const truncated = await storm(server, observer, samples, signal);
    await crew.calm(REST_MS);
    await sleep(REST_MS);
    const rests: Rest[] = [await observer.rest()];
    const evidence = await evidenceOf({ observer, ledger, folder, leaseMs, samples, rests });
    const lost = lostTasks(evidence).length;
    const acknowledged = new Set(deeds(evidence, 'submitted').map(({ task }) => task)).size;
    say(`redis everysec: ${lost} of ${acknowledged} acknowledged tasks were lost in ${KILLS} kills`);
    const problems = checkSurvivors(evidence);
    return {
      problems,
      evidence,
      kills: KILLS,
      truncated,
      acknowledged,
      lost,
      surviving: evidence.tasks.size,
    };
  } finally {
    for (const stop of stops) await stop();
  }
}

async function storm(
  server: ChaosServer,
  observer: Observer,
  samples: Sample[],
  signal: AbortSignal,
): Promise<number> {
  let truncated = 0;
  const aof = await fileOf(server.url);
  for (let kill = 0; kill < KILLS; kill++) {
    for (const end = performance.now() + BETWEEN_MS; performance.now() < end; ) {
      signal.throwIfAborted();
      samples.push(
        ...(await observer
          .sample()
          .then((sample) => [sample])
          .catch(() => [])),
      );
      await sleep(200);
    }
    await server.kill9();
    if (kill % 2 === 1) truncated += cut(aof) ? 1 : 0;
    await server.restart();
  }
  await sleep(BETWEEN_MS);
  return truncated;
}

async function fileOf(url: string): Promise<string> {
  const client = new Redis(url);
  try {
    const [, dir] = (await client.config('GET', 'dir')) as [string, string];
    const [, name] = (await client.config('GET', 'appenddirname')) as [string, string];
    return join(dir, name);
  } finally {
    client.disconnect();
  }
}

/** Cuts the end of the newest file of commands off. Redis leaves out a command that is torn. */
function cut(folder: string): boolean {
  const file = readdirSync(folder)
    .filter((name) => name.endsWith('.incr.aof'))
    .toSorted()
    .at(-1);
  if (file === undefined) return false;
  const path = join(folder, file);
  const { size } = statSync(path);
  const open = openSync(path, 'r+');
  ftruncateSync(open, Math.max(0, size - UNWRITTEN));
  closeSync(open);
  return true;
}

async function evidenceOf(parts: {
  readonly observer: Observer;
  readonly ledger: Ledger;
  readonly folder: string;
  readonly leaseMs: number;
  readonly samples: readonly Sample[];
  readonly rests: readonly Rest[];
}): Promise<Evidence> {
  const { observer, ledger, folder, leaseMs, samples, rests } = parts;
  return {
    entries: readJournals(folder),
    faults: [],
    history: await observer.history(),
    tasks: await observer.tasks(),
    reading: await observer.read(),
    effects: await ledger.effects(),
    writes: await ledger.writes(),
    ...{ samples, rests, leaseMs, slots: SLOTS, stallMs: 0 },
  };
}
