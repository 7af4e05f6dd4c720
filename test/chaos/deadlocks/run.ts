import { type ChildProcess, fork } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createRandom } from '../../../src/core/runtime/random.ts';
import { endWithUs } from '../../support/servers/end-with-us.ts';
import type { Problem } from '../checks/evidence.ts';
import { startServer } from '../server.ts';
import type { BackendName, World } from '../world.ts';
import { type Case, type Member, randomCase } from './cases.ts';
import type { Party, PartyCall, PartyWord } from './process.ts';
import { type Ending, judge, type Verdict } from './verdict.ts';

const PROCESS = fileURLToPath(new URL('./process.ts', import.meta.url));
const PROCESSES = 10;
/** Cases at the same time. */
const AT_ONCE = 6;
/** As long as a control stands still nobody may be taken for a victim: several looks for deadlocks, ms. */
const STANDING_MS = 1_300;
/** A wait that isn't said to be queued by then has been answered otherwise. */
const QUEUED_MS = 2_000;
/** Controls for so many deadlocks. */
const CONTROLS = 0.3;
/** The bound of the promise: p99 from the closing wait to the error, ms. */
const BOUND_MS = 1_000;

export interface DeadlockOptions {
  readonly backend: BackendName;
  readonly seed: string;
  readonly leaseMs: number;
  readonly cases: number;
  readonly folder: string;
  readonly signal: AbortSignal;
  readonly say: (text: string) => void;
}

export interface DeadlockResult {
  readonly problems: readonly Problem[];
  readonly cases: number;
  readonly controls: number;
  readonly missed: number;
  readonly falseVictims: number;
  readonly latencyMs: { readonly p50: number; readonly p99: number; readonly max: number };
}

/** Random deadlocks between processes, and cases that look like one. */
export async function runDeadlocks(options: DeadlockOptions): Promise<DeadlockResult> {
  const { backend, seed, cases, signal, say, leaseMs, folder } = options;
  mkdirSync(folder, { recursive: true });
  const server = await startServer(backend, false);
  const world: World = { backend, url: server.url, direct: server.url, name: `knots_${process.pid}` };
  const parties: PartyLine[] = [];
  try {
    // Leases are no part of this: on a busy machine they must not end.
    const party = { world, leaseMs: Math.max(10_000, leaseMs) };
    for (let i = 0; i < PROCESSES; i++) parties.push(await PartyLine.start(party, join(folder, 'cache')));
    const random = createRandom(`deadlocks ${seed}`);
    const controls = Math.round(cases * CONTROLS);
    const all = Array.from({ length: cases + controls }, (_, i) =>
      randomCase(i, i < cases, PROCESSES, random),
    )
      .map((one) => [random.next(), one] as const)
      .toSorted(([a], [b]) => a - b)
      .map(([, one]) => one);
    const verdicts: Verdict[] = [];
    const queue = all.values();
    const work = async (): Promise<void> => {
      for (const one of queue) {
        signal.throwIfAborted();
        verdicts.push(judge(one, await play(one, parties)));
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    const result = resultOf(verdicts);
    say(
      `${backend} deadlocks: ${result.cases} and ${result.controls} others, ${result.problems.length} problems`,
    );
    return result;
  } finally {
    for (const party of parties) party.end();
    await server.stop();
  }
}

function resultOf(verdicts: readonly Verdict[]): DeadlockResult {
  const deadlocks = verdicts.filter(({ isDeadlock }) => isDeadlock);
  const latencies = deadlocks.flatMap(({ latencyMs }) => (latencyMs === undefined ? [] : [latencyMs]));
  const sorted = latencies.toSorted((a, b) => a - b);
  const at = (share: number): number =>
    Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0);
  const latencyMs = { p50: at(0.5), p99: at(0.99), max: at(1) };
  const problems = verdicts.flatMap((verdict) => verdict.problems);
  if (latencyMs.p99 >= BOUND_MS) problems.push({ invariant: 'D2', what: `p99 is ${latencyMs.p99} ms` });
  return {
    problems,
    cases: deadlocks.length,
    controls: verdicts.length - deadlocks.length,
    missed: deadlocks.filter(({ missed }) => missed).length,
    falseVictims: verdicts.reduce((sum, verdict) => sum + verdict.falseVictims, 0),
    latencyMs,
  };
}

type Done = Extract<PartyWord, { readonly word: 'done' }>;

/** Holds, then waits one after another; whoever has got what it wanted, or was the victim, lets everything go. */
async function play(
  { members, order, isDeadlock }: Case,
  parties: readonly PartyLine[],
): Promise<readonly Ending[]> {
  const lineOf = (member: Member): PartyLine => parties[member.process] as PartyLine;
  for (const member of members) {
    for (const what of member.holds) await lineOf(member).ask({ do: 'acquire', owner: member.owner, what });
  }
  const endings = new Map<Member, Promise<Ending>>();
  for (const i of order) {
    const member = members[i] as Member;
    const line = lineOf(member);
    const { owner, wants } = member;
    if (wants === undefined) continue;
    const queued = line.queued(owner);
    const call =
      typeof wants === 'object' && 'upgrade' in wants
        ? ({ do: 'upgrade', owner, resource: wants.upgrade } as const)
        : ({ do: 'acquire', owner, what: wants } as const);
    const ending = line.ask(call).then(async (done) => {
      await line.ask({ do: 'release', owner });
      return endingOf(owner, done);
    });
    endings.set(member, ending);
    // The last one closes the cycle: there is nothing to wait for behind it.
    if (i !== order.at(-1)) await Promise.race([queued, sleep(QUEUED_MS, undefined, { ref: false }), ending]);
  }
  if (!isDeadlock) await sleep(STANDING_MS);
  // Those who only hold make way; in a deadlock there is nobody else.
  for (const member of members) {
    if (member.wants === undefined) await lineOf(member).ask({ do: 'release', owner: member.owner });
  }
  return Promise.all(endings.values());
}

function endingOf(owner: string, { askedAt, at, code, cycle }: Done): Ending {
  return {
    owner,
    askedAt,
    at,
    ...(code === undefined ? {} : { code }),
    ...(cycle === undefined ? {} : { cycle }),
  };
}

type Unnumbered<C> = C extends unknown ? Omit<C, 'id'> : never;

/** The line to one process. */
class PartyLine {
  readonly #child: ChildProcess;
  readonly #answers = new Map<number, (done: Done) => void>();
  readonly #queued = new Map<string, () => void>();
  #calls = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async start(party: Party, cache: string): Promise<PartyLine> {
    const child = fork(PROCESS, [JSON.stringify(party)], {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      env: { ...process.env, NODE_COMPILE_CACHE: cache },
    });
    endWithUs(child);
    const line = new PartyLine(child);
    const ready = Promise.withResolvers<void>();
    child.once('exit', (code) => ready.reject(new Error(`A process of the deadlocks ended with ${code}`)));
    child.on('message', (word: PartyWord) => {
      if (word.word === 'ready') ready.resolve();
      else line.#hear(word);
    });
    await ready.promise;
    return line;
  }

  ask(call: Unnumbered<PartyCall>): Promise<Done> {
    this.#calls += 1;
    const id = this.#calls;
    const { promise, resolve } = Promise.withResolvers<Done>();
    this.#answers.set(id, resolve);
    this.#child.send({ ...call, id });
    return promise;
  }

  /** Resolves when this owner begins to wait. */
  queued(owner: string): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#queued.set(owner, resolve);
    return promise;
  }

  end(): void {
    this.#child.kill('SIGKILL');
  }

  #hear(word: Exclude<PartyWord, { readonly word: 'ready' }>): void {
    if (word.word === 'queued') {
      this.#queued.get(word.owner)?.();
      this.#queued.delete(word.owner);
      return;
    }
    this.#answers.get(word.id)?.(word);
    this.#answers.delete(word.id);
  }
}
