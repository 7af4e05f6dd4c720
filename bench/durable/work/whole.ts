import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { machineMs, type OpenSystem, payloadOf, type Place, type System } from '../systems/system.ts';
import { startCpu } from './cpu.ts';
import { Tally } from './tally.ts';

/** Jobs of one array. */
export const ARRAY = 1_000;
/** Of a run; see {@link Processed}. */
export const PARTS = 10;
/** How often the store is asked whether all is done, ms. */
const ASK_MS = 5;

export function range(from: number, count: number): readonly number[] {
  return Array.from({ length: count }, (_, i) => from + i);
}

/** Stores `jobs` numbered jobs in arrays. Answers their ids. */
export async function fill(open: OpenSystem, jobs: number, from = 0): Promise<string[]> {
  const ids: string[] = [];
  for (let i = from; i < from + jobs; i += ARRAY)
    ids.push(...(await open.many(range(i, Math.min(ARRAY, from + jobs - i)).map((n) => payloadOf(n)))));
  return ids;
}

/** Stores jobs by a process-like client of its own, and leaves the server as it is after a quiet moment. */
export async function prefill(system: System, place: Place, jobs: number): Promise<void> {
  const producer = await system.open(place);
  await fill(producer, jobs);
  await producer.close();
  await rest(place);
}

/** What the fill left to do is done now and not during what is measured: statistics, dirty pages. */
export async function rest({ backend, url }: Place): Promise<void> {
  if (backend !== 'postgres') return;
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query('vacuum analyze');
  await client.query('checkpoint');
  await client.end();
}

/** Resolves with the time, ms of the machine, at which the store says that all is done. */
export async function drained(open: OpenSystem): Promise<number> {
  while (!(await open.isDrained())) await sleep(ASK_MS);
  return machineMs();
}

/** @throws when a job was lost or ran twice, by the handlers' count or by the store's */
export async function mustBeWhole(
  open: OpenSystem,
  jobs: number,
  { runs, twice }: { readonly runs: number; readonly twice: number },
): Promise<void> {
  const completed = await open.completed();
  if (runs !== jobs || twice > 0 || (completed !== undefined && completed !== jobs))
    throw new Error(
      `Of ${jobs} jobs ${runs} ran, ${twice} of them twice; the store says ${completed ?? 'nothing'} completed`,
    );
}

export interface Processed {
  /** Jobs a second until the last handler; the first tenth is warm-up and doesn't count. */
  readonly undrained: number;
  /** … until the store says that all are completed. */
  readonly drained: number;
  readonly tally: Tally;
  /** CPU time of a job, µs, from the worker's start until all is drained. */
  readonly clientUs: number;
  readonly serverUs: number;
}

/** Fills a queue and has one worker of this process empty it. */
export async function processAll(
  system: System,
  place: Place,
  jobs: number,
  slots: number,
): Promise<Processed> {
  await prefill(system, place, jobs);
  return emptied(system, place, jobs, slots);
}

/** One worker of this process empties a full queue. */
export async function emptied(system: System, place: Place, jobs: number, slots: number): Promise<Processed> {
  const open = await system.open(place);
  const tally = new Tally(jobs, PARTS);
  const cpu = await startCpu(place);
  await open.work(slots, tally.see);
  await tally.until(jobs);
  const lastAt = machineMs();
  const drainedAt = await drained(open);
  const { client, server } = await cpu();
  await mustBeWhole(open, jobs, tally);
  await open.close();
  const [warmAt = tally.firstAt] = tally.marks;
  const counted = jobs * (1 - 1 / PARTS) * 1_000;
  return {
    undrained: counted / (lastAt - warmAt),
    drained: counted / (drainedAt - warmAt),
    tally,
    clientUs: client / jobs,
    serverUs: server / jobs,
  };
}
