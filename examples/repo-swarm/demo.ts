import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DemoOptions } from './command-line.ts';
import { gitConfig } from './git.ts';
import { makePlan, type Plan } from './plan.ts';
import { Progress, type Output } from './progress.ts';
import { MODES, runPlan, type Mode, type RunRecord } from './run.ts';
import { summarise, type Runs, type Summary } from './summary.ts';
import { Workspace } from './workspace.ts';

export interface DemoResult {
  readonly plan: Plan;
  readonly runs: Runs;
  readonly summary: Summary;
}

/** Plans once, then runs the plan three times, each in a clone of its own. Everything it leaves on disk is in one temporary folder. */
export async function runDemo(options: DemoOptions, out: Output, signal: AbortSignal): Promise<DemoResult> {
  const folder = await mkdtemp(join(tmpdir(), 'repo-swarm-'));
  const remove = (): void => rmSync(folder, { recursive: true, force: true });
  if (!options.keep) process.once('exit', remove); // also when the process ends in the middle
  try {
    const config = join(folder, 'gitconfig');
    await writeFile(config, gitConfig(options.repo));
    const base = await Workspace.clone(options.repo, join(folder, 'base'), config);
    const plan = makePlan(await base.survey(), options.seed, options.tasks);
    await base.commitPlan(plan);
    out.write(describePlan(plan));
    const run = async (mode: Mode): Promise<RunRecord> => {
      const workspace = await Workspace.clone(base.folder, join(folder, mode), config);
      const progress = new Progress(out, MODES[mode].title, plan.tasks.length);
      try {
        return await runPlan({ mode, plan, workspace, signal, onEvent: (event) => progress.see(event) });
      } finally {
        progress.end();
      }
    };
    const runs = {
      serial: await run('serial'),
      off: await run('off'),
      coordinated: await run('coordinated'),
    };
    return { plan, runs, summary: summarise(options.repo, options.seed, runs) };
  } finally {
    if (options.keep) out.write(`The clones are in ${folder}\n`);
    else {
      await rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
      process.off('exit', remove);
    }
  }
}

function describePlan({ tasks, hotPaths, seed }: Plan): string {
  const hot = tasks.filter((task) => task.paths.some((path) => hotPaths.includes(path))).length;
  const optimistic = tasks.filter((task) => task.mode === 'optimistic').length;
  return [
    `Plan (seed ${seed}): ${tasks.length} edits, ${hot} of them on ${hotPaths.length} hot files, ${optimistic} optimistic.`,
    'Each edit calls a local stand-in for a model (HTTP, 15 to 30 ms) and a formatter that fails now and then; all three runs make the same calls.',
    '',
  ].join('\n');
}
