import { MODES } from './run.ts';
import type { Check, Runs, Summary } from './summary.ts';
import { countEvents } from './summary.ts';

/** What is printed at the end: the three runs side by side, and what was promised. */
export function printResult(summary: Summary, runs: Runs, checks: readonly Check[], colour: boolean): string {
  const columns = [runs.serial, runs.off, runs.coordinated].map((run) => ({
    run,
    counters: countEvents(run.events),
  }));
  const rows: [string, ...string[]][] = [
    ['', ...columns.map(({ run }) => MODES[run.mode].title)],
    ['time', ...columns.map(({ run }) => `${(run.durationMs / 1_000).toFixed(2)} s`)],
    ['edits found', ...columns.map(({ run: { verified } }) => `${verified.found} of ${verified.expected}`)],
    ['edits lost', ...columns.map(({ run }) => String(run.verified.lost))],
    ['tree', ...columns.map(({ run }) => run.verified.tree.slice(0, 10))],
    ['commits landed', ...columns.map(({ run }) => String(run.report.commits))],
    ['tasks', ...columns.map(({ counters: { tasks } }) => `${tasks.completed} of ${tasks.total}`)],
    ['attempts repeated', ...columns.map(({ counters }) => String(counters.tasks.failed))],
    ['locks / waits', ...columns.map(({ counters: { locks } }) => `${locks.acquired} / ${locks.waited}`)],
    ['longest lock wait', ...columns.map(({ counters }) => `${counters.locks.maxWaitMs} ms`)],
    [
      'deadlocks found / resolved',
      ...columns.map(({ counters: { deadlocks } }) => `${deadlocks.detected} / ${deadlocks.resolved}`),
    ],
    [
      'conflicts merged / retried',
      ...columns.map(({ counters: { conflicts } }) => `${conflicts.merged} / ${conflicts.retried}`),
    ],
    ['tasks stolen', ...columns.map(({ counters }) => String(counters.steals))],
    [
      'breaker opened / closed',
      ...columns.map(({ counters: { breaker } }) => `${breaker.opened} / ${breaker.closed}`),
    ],
    ['messages', ...columns.map(({ counters }) => String(counters.messages))],
  ];
  const lines = checks.map(({ text, kept }) => `${paint(kept ? '✓' : '✗', kept ? 32 : 31, colour)} ${text}`);
  return `${summary.agents} agents on ${summary.repo}, seed ${summary.seed}\n\n${align(rows)}\n\n${lines.join('\n')}\n`;
}

function align(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  return rows
    .map((row) =>
      row
        .map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
        .join('   ')
        .trimEnd(),
    )
    .join('\n');
}

function paint(text: string, code: number, colour: boolean): string {
  return colour ? `\u001b[${code}m${text}\u001b[0m` : text;
}
