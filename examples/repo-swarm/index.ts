import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { HELP, parseCommandLine, UsageError } from './command-line.ts';
import { runDemo } from './demo.ts';
import { isCoordinationError } from './mesh.ts';
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

function explain(error: unknown): string {
  if (error instanceof UsageError) return `${error.message}\nTry --help.\n`;
  if (!isCoordinationError(error))
    return `${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`;
  return `${error.code}: ${error.message}\n${error.hint === undefined ? '' : `${error.hint}\n`}`;
}

const interrupted = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) {
  process.on(name, () => {
    if (interrupted.signal.aborted) process.exit(130); // asked twice: at once
    interrupted.abort(new Error('interrupted'));
  });
}
// Whoever read the output has gone (`| head`): end quietly; leaving removes the temporary folder.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => process.exit(1));
try {
  process.exitCode = await main(process.argv.slice(2), interrupted.signal);
} catch (error) {
  const stopped = interrupted.signal.aborted;
  process.stderr.write(stopped ? '\nInterrupted.\n' : explain(error));
  process.exitCode = stopped ? 130 : error instanceof UsageError ? 2 : 1;
}
