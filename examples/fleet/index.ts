import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startPostgres } from '../../test/support/servers/postgres-server.ts';
import { startRedis } from '../../test/support/servers/redis-server.ts';
import { runMain } from '../run-main.ts';
import { type FleetOptions, HELP, parseCommandLine } from './command-line.ts';
import { type Evidence, type FleetRun, runFleet } from './run.ts';
import { checksOf, type FleetSummary } from './summary.ts';
import { LiveTable, tableOf } from './table.ts';

/** The control shows what fencing is for: a few pauses are enough. */
const CONTROL = { tasks: 200, kills: 2, pauses: 2 };

async function main(args: readonly string[], signal: AbortSignal): Promise<number> {
  const options = parseCommandLine(args);
  if (options === 'help') {
    process.stdout.write(HELP);
    return 0;
  }
  const out = options.json ? process.stderr : process.stdout;
  const server = options.url === undefined ? await startServer(options, out) : { url: options.url };
  try {
    const { evidence, ...main } = await run(options, server.url, true, out, signal);
    const control = await run({ ...options, ...CONTROL }, server.url, false, out, signal);
    const { backend, tasks } = options;
    const summary = { backend, tasks, ...main, control: { duplicates: control.duplicates } };
    const checks = checksOf(summary, options);
    out.write(`\n${checks.map(({ what, kept }) => `${kept ? '✓' : '✗'} ${what}`).join('\n')}\n`);
    if (options.json) process.stdout.write(`${JSON.stringify(inOrder(summary))}\n`);
    if (checks.every(({ kept }) => kept)) return 0;
    const file = save({ summary, ...evidence });
    out.write(`What it was counted from, the ledger and the history of the tasks, is in ${file}\n`);
    return 1;
  } finally {
    if ('stop' in server) await server.stop();
  }
}

async function startServer(
  { backend }: FleetOptions,
  out: NodeJS.WriteStream,
): Promise<{ readonly url: string; stop(): Promise<void> }> {
  out.write(`Starting a private ${backend} server that writes to disk before it answers …\n`);
  return backend === 'postgres' ? startPostgres({ durable: true, own: true }) : startRedis({ durable: true });
}

async function run(
  options: FleetOptions,
  url: string,
  fenced: boolean,
  out: NodeJS.WriteStream,
  signal: AbortSignal,
): Promise<FleetRun & { readonly evidence: Evidence }> {
  const { backend, tasks } = options;
  const name = `fleet_${process.pid}_${fenced ? 'main' : 'control'}`;
  const table = new LiveTable(out);
  const title = fenced ? `Fleet on ${backend}` : 'Control, without fencing';
  const result = await runFleet(
    { backend, url, name },
    fenced,
    options,
    (standing) => table.draw(tableOf(title, tasks, standing)),
    signal,
  );
  table.end();
  return result;
}

/** On the server nothing is left. */
function save(evidence: Evidence & { readonly summary: FleetSummary }): string {
  const file = join(mkdtempSync(join(tmpdir(), 'fleet-')), 'evidence.json');
  writeFileSync(file, JSON.stringify(evidence));
  return file;
}

function inOrder(summary: FleetSummary): object {
  const { backend, tasks, done, dead, lost, duplicates, attempts, reclaimed, fencedOff } = summary;
  const { kills, pauses, recoveryMs, control, durationMs } = summary;
  return {
    ...{ backend, tasks, done, dead, lost, duplicates, attempts, reclaimed, fencedOff },
    ...{ kills, pauses, recoveryMs, control, durationMs },
  };
}

await runMain(main);
