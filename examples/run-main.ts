import { isCoordinationError } from '../src/index.ts';

/** The command line can't be understood. */
export class UsageError extends Error {}

/**
 * Runs a program from the command line: the exit code is what `main` resolves with, 2 for a {@link UsageError}, 130 when it was interrupted.
 * The first SIGINT or SIGTERM aborts the signal, so that it can clean up; the second ends the process at once.
 */
export async function runMain(
  main: (args: readonly string[], signal: AbortSignal) => Promise<number>,
): Promise<void> {
  const interrupted = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.on(name, () => {
      if (interrupted.signal.aborted) process.exit(130);
      interrupted.abort(new Error('interrupted'));
    });
  }
  // Whoever read the output has gone (`| head`): end quietly.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => process.exit(1));
  try {
    process.exitCode = await main(process.argv.slice(2), interrupted.signal);
  } catch (error) {
    const stopped = interrupted.signal.aborted;
    process.stderr.write(stopped ? '\nInterrupted.\n' : explain(error));
    process.exitCode = stopped ? 130 : error instanceof UsageError ? 2 : 1;
  }
}

function explain(error: unknown): string {
  if (error instanceof UsageError) return `${error.message}\nTry --help.\n`;
  if (!isCoordinationError(error))
    return `${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`;
  return `${error.code}: ${error.message}\n${error.hint === undefined ? '' : `${error.hint}\n`}`;
}
