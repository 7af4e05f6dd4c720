import { mkdirSync } from 'node:fs';
import { createRandom } from '../../src/core/runtime/random.ts';
import { checkAll, looks, unlooked } from './checks/checks.ts';
import { deeds, type Evidence, type Problem } from './checks/evidence.ts';
import { handovers } from './checks/locks.ts';
import { lostTasks, recoveries } from './checks/tasks.ts';
import { historyProblems } from './checks/transitions.ts';
import { Conductor } from './conductor.ts';
import { Crew } from './crew.ts';
import { openLedger } from './ledger.ts';
import { Observer } from './observer.ts';
import { type Amounts, type Tally, tooFew } from './plan.ts';
import { startServer } from './server.ts';
import type { BackendName, World } from './world.ts';

const PLACES = 5;
const SLOTS = 4;
/** Tasks whose history is asked for one by one. */
const HISTORIES = 1_000;

export interface RunOptions {
  readonly backend: BackendName;
  readonly seed: string;
  readonly leaseMs: number;
  readonly amounts: Amounts;
  readonly folder: string;
  readonly signal: AbortSignal;
  readonly say: (text: string) => void;
}

/** What one storm showed. */
export interface RunResult {
  readonly problems: readonly Problem[];
  readonly evidence: Evidence;
  readonly tally: Tally;
  readonly durability: string;
  /** How many items the checks looked at. */
  readonly looked: readonly (readonly [name: string, looked: number])[];
  readonly facts: Facts;
}

export interface Facts {
  readonly tasks: number;
  readonly lost: number;
  readonly begins: number;
  readonly histories: number;
  readonly grants: number;
  readonly writes: number;
  /** Writes under an old token that were refused. */
  readonly fencedOff: number;
  readonly messages: number;
  readonly redelivered: number;
  readonly samples: number;
  readonly recoveryMs: Spread;
  readonly handoverMs: Spread;
  readonly stallMs: number;
  readonly ms: number;
}

export interface Spread {
  readonly count: number;
  readonly p50: number;
  readonly max: number;
}

/** A storm over a crew on a server that writes to disk before it answers: whatever happens, nothing that was promised may break. */
export async function runStorm(options: RunOptions): Promise<RunResult> {
  const { backend, seed, leaseMs, amounts, folder, signal, say } = options;
  const started = performance.now();
  mkdirSync(folder, { recursive: true });
  const server = await startServer(backend);
  const stops: (() => Promise<void>)[] = [() => server.stop()];
  try {
    const world: World = { backend, url: server.url, direct: server.url, name: `chaos_${process.pid}` };
    const ledger = openLedger(world);
    stops.unshift(() => ledger.close());
    await ledger.prepare();
    const observer = await Observer.start(world);
    stops.unshift(() => observer.close());
    const port = { port: server.port, places: PLACES, folder, leaseMs, slots: SLOTS, seed, clock: true };
    const crew = await Crew.start({ world, ...port });
    stops.unshift(() => crew.stop());
    const common = { world, server, crew, observer, ledger, folder, seed, leaseMs, slots: SLOTS };
    const conductor = new Conductor({ ...common, amounts, signal, say });
    // The evidence grows, so most of what was broken once is found again in each round: it counts once.
    const broken = new Map<string, Problem>();
    for (let round = 0; round < amounts.rounds; round++) {
      if (round > 0) crew.go();
      await conductor.round(round);
      const evidence = await conductor.evidence();
      for (const problem of [...conductor.problems, ...checkAll(evidence), ...collapsed(crew)])
        broken.set(JSON.stringify(problem), problem);
      const { kills, freezes, partitions, servers, cuts } = conductor.tally;
      const done = `${kills} kills, ${servers} of the server, ${freezes} pauses, ${partitions} partitions, ${cuts} lost replies`;
      say(`${backend} round ${round + 1}: ${done}; ${evidence.tasks.size} tasks, ${broken.size} problems`);
    }
    const evidence = await conductor.evidence();
    const looked = looks(evidence);
    const histories = await readHistories(observer, evidence, seed);
    const problems = [
      ...broken.values(),
      ...tooFew(conductor.tally, amounts),
      ...unlooked(looked),
      ...histories.problems,
    ];
    conductor.close();
    return {
      problems,
      evidence,
      tally: conductor.tally,
      durability: server.durability,
      looked,
      facts: factsOf(evidence, histories.count, performance.now() - started),
    };
  } finally {
    for (const stop of stops) await stop();
  }
}

function collapsed({ collapses }: Crew): Problem[] {
  return collapses.map((what) => ({ invariant: 'G6', what }));
}

/** `history(taskId)` of random tasks: in order, whole, and the same that the history of all tells. */
async function readHistories(
  observer: Observer,
  { tasks, history }: Evidence,
  seed: string,
): Promise<{ readonly count: number; readonly problems: Problem[] }> {
  const random = createRandom(`histories ${seed}`);
  const ids = [...tasks.keys()]
    .map((id) => [random.next(), id] as const)
    .toSorted(([a], [b]) => a - b)
    .slice(0, HISTORIES)
    .map(([, id]) => id);
  const all = Map.groupBy(history, ({ task }) => task);
  const problems: Problem[] = [];
  for (const id of ids) {
    const steps = await observer.history(id);
    problems.push(...historyProblems(id, steps));
    if (JSON.stringify(steps) !== JSON.stringify(all.get(id) ?? []))
      problems.push({
        invariant: 'history',
        what: 'it tells another story than the history of all',
        about: id,
      });
  }
  return { count: ids.length, problems };
}

function factsOf(evidence: Evidence, histories: number, ms: number): Facts {
  const received = deeds(evidence, 'received');
  return {
    tasks: evidence.tasks.size,
    lost: lostTasks(evidence).length,
    begins: deeds(evidence, 'begin').length,
    histories,
    grants: deeds(evidence, 'got').length,
    writes: evidence.writes.length,
    fencedOff: deeds(evidence, 'wrote').filter(({ code }) => code === 'STALE_FENCE').length,
    messages: deeds(evidence, 'sent').length,
    redelivered: received.filter(({ redelivered }) => redelivered).length,
    samples: evidence.samples.length,
    recoveryMs: spread(recoveries(evidence).map((one) => one.ms)),
    handoverMs: spread(handovers(evidence).map((one) => one.ms)),
    stallMs: evidence.stallMs,
    ms: Math.round(ms),
  };
}

export function spread(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  return {
    count: sorted.length,
    p50: Math.round(sorted[sorted.length >> 1] ?? 0),
    max: Math.round(sorted.at(-1) ?? 0),
  };
}
