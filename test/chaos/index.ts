import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Evidence, Problem } from './checks/evidence.ts';
import { type ChaosOptions, HELP, parseCommandLine, UsageError } from './command-line.ts';
import { writeHistory } from './crew.ts';
import { type DeadlockResult, runDeadlocks } from './deadlocks/run.ts';
import { type EverysecResult, runEverysec } from './everysec.ts';
import { FULL, QUICK } from './plan.ts';
import { type RunResult, runStorm, type Spread } from './run.ts';
import { problemsText, tableOf } from './table.ts';
import type { BackendName } from './world.ts';

/** After an interruption: whatever still hangs is left behind, ms. What was started ends with us. */
const LEAVE_MS = 8_000;

interface BackendResult {
  readonly backend: BackendName;
  readonly storm?: RunResult;
  readonly everysec?: EverysecResult;
  readonly deadlocks?: DeadlockResult;
}

async function main(args: readonly string[], signal: AbortSignal): Promise<number> {
  const options = parseCommandLine(args);
  if (options === 'help') {
    process.stdout.write(HELP);
    return 0;
  }
  const out = options.json ? process.stderr : process.stdout;
  const say = (text: string): void => void out.write(`${text}\n`);
  say(`chaos: --seed ${options.seed} --lease-ms ${options.leaseMs}`);
  const folder = mkdtempSync(join(tmpdir(), 'agentmesh-chaos-'));
  let isKept = false;
  const results: BackendResult[] = [];
  try {
    for (const backend of options.backends) {
      const result = await runBackend(backend, options, join(folder, backend), signal, say);
      results.push(result);
      isKept = report(result, join(folder, backend), say) || isKept;
    }
  } finally {
    if (!isKept) rmSync(folder, { recursive: true, force: true });
  }
  const problems = results.flatMap(problemsOf);
  say(
    problems.length === 0
      ? '\nEvery promise held.'
      : `\n${problems.length} problems; repeat with --seed ${options.seed}`,
  );
  if (options.json)
    process.stdout.write(`${JSON.stringify({ seed: options.seed, results: results.map(inShort) })}\n`);
  return problems.length === 0 ? 0 : 1;
}

async function runBackend(
  backend: BackendName,
  options: ChaosOptions,
  folder: string,
  signal: AbortSignal,
  say: (text: string) => void,
): Promise<BackendResult> {
  const { seed, leaseMs, full, only, rounds } = options;
  const size = full ? FULL : QUICK;
  const amounts = rounds === undefined ? size : { ...size, rounds };
  const common = { backend, seed, leaseMs, signal, say };
  const wants = (part: ChaosOptions['only']): boolean => only === undefined || only === part;
  const storm = wants('storm')
    ? await runStorm({ ...common, amounts, folder: join(folder, 'storm') })
    : undefined;
  const everysec =
    backend === 'redis' && wants('everysec')
      ? await runEverysec({ ...common, folder: join(folder, 'everysec') })
      : undefined;
  const cases = full ? 400 : 100;
  const deadlocks = wants('deadlocks')
    ? await runDeadlocks({ ...common, cases, folder: join(folder, 'deadlocks') })
    : undefined;
  return {
    backend,
    ...(storm === undefined ? {} : { storm }),
    ...(everysec === undefined ? {} : { everysec }),
    ...(deadlocks === undefined ? {} : { deadlocks }),
  };
}

function problemsOf({ storm, everysec, deadlocks }: BackendResult): Problem[] {
  return [...(storm?.problems ?? []), ...(everysec?.problems ?? []), ...(deadlocks?.problems ?? [])];
}

/** Prints what a backend showed. True: something is kept in files. */
function report(
  { backend, storm, everysec, deadlocks }: BackendResult,
  folder: string,
  say: (text: string) => void,
): boolean {
  if (storm !== undefined) {
    say(stormTable(backend, storm));
    say(tableOf(`\n${backend}: what the checks looked at`, storm.looked));
  }
  if (everysec !== undefined) say(everysecTable(everysec));
  if (deadlocks !== undefined) say(deadlockTable(backend, deadlocks));
  const problems = problemsOf({
    backend,
    ...(storm && { storm }),
    ...(everysec && { everysec }),
    ...(deadlocks && { deadlocks }),
  });
  if (problems.length === 0) return false;
  say(`\n${backend}: ${problems.length} problems\n${problemsText(problems)}`);
  for (const [name, part] of [
    ['storm', storm],
    ['everysec', everysec],
  ] as const) {
    if (part === undefined || part.problems.length === 0) continue;
    const file = writeHistory(folder, `${name}.json`, {
      problems: part.problems,
      evidence: plain(part.evidence),
    });
    say(`Everything that was recorded: ${file}`);
    say(histories(part.problems, part.evidence));
  }
  return true;
}

function plain(evidence: Evidence): object {
  const { tasks, sessions, ...rest } = evidence.reading;
  return {
    ...evidence,
    reading: { ...rest, tasks: Object.fromEntries(tasks), sessions: Object.fromEntries(sessions) },
    tasks: Object.fromEntries(evidence.tasks),
    orders: evidence.orders === undefined ? null : [...evidence.orders],
  };
}

/** What is known of the first few tasks that something is wrong with. */
function histories(problems: readonly Problem[], evidence: Evidence): string {
  const about = [...new Set(problems.map((problem) => problem.about))].filter(
    (task) => task !== undefined && evidence.tasks.has(task),
  );
  return about
    .slice(0, 3)
    .map((task) => {
      const steps = evidence.history
        .filter((step) => step.task === task)
        .map((step) => `    ${JSON.stringify(step)}`);
      const notes = evidence.entries
        .filter((entry) => 'task' in entry && entry.task === task)
        .map((entry) => `    ${JSON.stringify(entry)}`);
      return [`  ${task}: ${JSON.stringify(evidence.tasks.get(task as string))}`, ...steps, ...notes].join(
        '\n',
      );
    })
    .join('\n');
}

function stormTable(backend: BackendName, { tally, facts, durability, problems }: RunResult): string {
  return tableOf(`\n${backend} (${durability})`, [
    ['kill -9 of workers', tally.kills],
    ['kill -9 of the server', tally.servers],
    ['pauses past the lease', tally.freezes],
    ['partitions and black holes', tally.partitions],
    ['lost replies', tally.cuts],
    ['clock jumps', tally.clocks],
    ['tasks', `${facts.tasks}, ${facts.begins} attempts, ${facts.lost} lost`],
    ['histories read one by one', facts.histories],
    ['samples of conservation', facts.samples],
    ['tasks of killed workers taken over', spreadText(facts.recoveryMs)],
    ['locks granted', facts.grants],
    ['locks of killed workers granted', spreadText(facts.handoverMs)],
    ['fenced writes', `${facts.writes}, ${facts.fencedOff} late ones refused`],
    ['messages', `${facts.messages}, ${facts.redelivered} delivered again`],
    ['longest stall of the machine', `${facts.stallMs} ms`],
    ['took', `${(facts.ms / 1_000).toFixed(0)} s`],
    ['problems', problems.length],
  ]);
}

function everysecTable({
  kills,
  acknowledged,
  lost,
  surviving,
  truncated,
  problems,
}: EverysecResult): string {
  return tableOf('\nredis (appendfsync everysec)', [
    ['kill -9 of the server', `${kills}, ${truncated} of them with the last of the file cut off`],
    ['acknowledged tasks', acknowledged],
    ['lost tasks', lost],
    ['surviving tasks', surviving],
    ['problems', problems.length],
  ]);
}

function deadlockTable(
  backend: BackendName,
  { cases, controls, missed, falseVictims, latencyMs, problems }: DeadlockResult,
): string {
  const { p50, p99, max } = latencyMs;
  return tableOf(`\n${backend}: deadlocks between processes`, [
    ['deadlocks', `${cases}, ${missed} missed`],
    ['others', `${controls}, ${falseVictims} false victims`],
    ['from the closing wait to the error', `p50 ${p50} ms, p99 ${p99} ms, max ${max} ms`],
    ['problems', problems.length],
  ]);
}

function spreadText({ count, p50, max }: Spread): string {
  return count === 0 ? 'none seen' : `${count}: p50 ${p50} ms, max ${max} ms`;
}

function inShort({ backend, storm, everysec, deadlocks }: BackendResult): object {
  const short = (part: { readonly problems: readonly Problem[] } | undefined): object | null => {
    if (part === undefined) return null;
    const { evidence: _, ...rest } = part as {
      readonly problems: readonly Problem[];
      readonly evidence?: unknown;
    };
    return rest;
  };
  return { backend, storm: short(storm), everysec: short(everysec), deadlocks: short(deadlocks) };
}

const interrupted = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) {
  process.on(name, () => {
    // Asked twice: at once. What was started ends with us.
    if (interrupted.signal.aborted) process.exit(130);
    interrupted.abort(new Error('interrupted'));
    setTimeout(() => process.exit(130), LEAVE_MS).unref();
  });
}
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => process.exit(1));
try {
  process.exitCode = await main(process.argv.slice(2), interrupted.signal);
} catch (error) {
  const isStopped = interrupted.signal.aborted;
  const text =
    error instanceof UsageError
      ? `${error.message}\nTry --help.`
      : error instanceof Error
        ? error.stack
        : String(error);
  process.stderr.write(isStopped ? '\nInterrupted.\n' : `${text}\n`);
  process.exitCode = isStopped ? 130 : error instanceof UsageError ? 2 : 1;
}
// Everything has been ended; what a driver may have left open is no reason to stay.
process.exit();
