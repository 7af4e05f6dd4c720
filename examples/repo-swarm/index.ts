import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { runMain } from '../run-main.ts';
import { HELP, parseCommandLine } from './command-line.ts';
import { runDemo } from './demo.ts';
import { renderReport } from './report.ts';
import { checkRuns } from './summary.ts';
import { printResult } from './table.ts';

/** Runs the demo as the command line asks; resolves with the exit code. */
async function main(args: readonly string[], signal: AbortSignal): Promise<number> {
  const options = parseCommandLine(args);
  if (options === 'help') {
    process.stdout.write(HELP);
    return 0;
  }
  // With --json everything for people goes to standard error.
  const out = options.json ? process.stderr : process.stdout;
  const { plan, runs, summary } = await runDemo(options, out, signal);
  const checks = checkRuns(summary, runs);
  out.write(`\n${printResult(summary, runs, checks, usesColour(out, process.env))}\n`);
  if (options.report) out.write(`Report: ${await writeReport(renderReport(plan, runs, summary, checks))}\n`);
  if (options.json) process.stdout.write(`${JSON.stringify(summary)}\n`);
  return checks.every(({ kept }) => kept) ? 0 : 1;
}

async function writeReport(html: string): Promise<string> {
  const path = resolve('report.html');
  await writeFile(path, html);
  return path;
}

function usesColour(out: { readonly isTTY?: boolean }, env: NodeJS.ProcessEnv): boolean {
  return out.isTTY === true && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb';
}

await runMain(main);
