import { drawCycle } from './report/cycle.ts';
import { html, Html, milliseconds } from './report/html.ts';
import { drawLanes, drawLegend } from './report/lanes.ts';
import { STYLE } from './report/style.ts';
import { readTimeline, type Timeline } from './report/timeline.ts';
import { MODES, type RunRecord } from './run.ts';
import type { Plan } from './plan.ts';
import { countEvents, type Check, type Counters, type Runs, type Summary } from './summary.ts';

/** The page of one demo run: needs nothing but itself. Every figure in it is read from the event logs or from the verifier. */
export function renderReport(plan: Plan, runs: Runs, summary: Summary, checks: readonly Check[]): string {
  const timeline = readTimeline(runs.coordinated);
  const others = [runs.serial, runs.off];
  const page = html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>repo-swarm: ${summary.edits.expected} edits by ${summary.agents} agents</title><style>${styleSheet}</style></head><body><main>
<h1>${summary.agents} agents, one repository, ${summary.edits.lost === 0 ? 'no' : summary.edits.lost} lost ${summary.edits.lost === 1 ? 'edit' : 'edits'}</h1>
<p class="lead">${plan.tasks.length} edit tasks on a clone of <code>${summary.repo}</code>, seed ${summary.seed}: the same plan, agents and tool calls three times. ${plan.tasks.filter(({ paths }) => paths.some((path) => plan.hotPaths.includes(path))).length} tasks want one of ${plan.hotPaths.length} hot files. A separate process counted what each clone holds.</p>
<div class="runs">${[runs.serial, runs.off, runs.coordinated].map((run) => drawRun(run, runs))}</div>
<section><h2>Promised and checked</h2><ul class="checks">${checks.map(({ text, kept }) => html`<li class="${kept ? 'kept' : 'broken'}">${text}</li>`)}</ul></section>
<section><h2>Agents over time</h2><p class="soft">The coordinated run. Point at anything to see what it is.</p>${drawLanes(plan, timeline)}${drawLegend()}
${others.map((run) => html`<details><summary>The same lanes, ${MODES[run.mode].title}</summary>${drawLanes(plan, readTimeline(run))}</details>`)}</section>
<div class="two">${drawDeadlocks(plan, timeline)}${drawConflicts(timeline)}</div>
${drawHotFiles(plan, timeline, runs)}
<div class="two">${drawSteals(timeline)}${drawBreaker(timeline)}</div>
${drawCounters(runs)}
<footer>Written by examples/repo-swarm of agentmesh. ${new Date(runs.coordinated.startedAt).toISOString().slice(0, 19).replace('T', ' ')} UTC.</footer>
</main></body></html>
`;
  return page.text;
}

const styleSheet = new Html(STYLE);
/** Conflicts that are shown at once; the others unfold. */
const SHOWN = 8;

function drawRun(run: RunRecord, { serial }: Runs): Html {
  const { lost, expected } = run.verified;
  const faster = serial.durationMs / run.durationMs;
  return html`<div class="run${run.mode === 'coordinated' ? ' main' : ''}"><h2>${MODES[run.mode].title}</h2><div class="time">${(run.durationMs / 1_000).toFixed(2)} s</div>
<svg class="track" width="100%" height="8"><rect class="rest" width="100%" height="8"/><rect class="part" width="${((100 * run.durationMs) / serial.durationMs).toFixed(1)}%" height="8"/></svg>
<div class="lost ${lost === 0 ? 'good' : 'bad'}">${lost} of ${expected} edits lost</div><div class="soft">${run.mode === 'serial' ? 'the yardstick' : `${faster.toFixed(1)}× as fast as one at a time`}</div><div class="soft">tree <code>${run.verified.tree.slice(0, 12)}</code></div></div>`;
}

function drawDeadlocks(plan: Plan, { deadlocks, spans }: Timeline): Html {
  const [first] = deadlocks;
  if (first === undefined)
    return html`<section><h2>Deadlocks</h2><p class="soft">There was none.</p></section>`;
  const tasks = new Map(plan.tasks.map((task) => [task.id, task]));
  const describe = (id: string): string =>
    `${id}${tasks.has(id) ? ` (${tasks.get(id)?.kind.replaceAll('-', ' ')})` : ''}`;
  const done = spans.find((span) => span.taskId === first.victim && span.failure === undefined);
  return html`<section><h2>Deadlocks: ${deadlocks.length} found, ${deadlocks.filter((one) => one.resolvedAfterMs !== undefined).length} resolved</h2>
<p class="soft">The first, ${milliseconds(first.at)} after the start, was found in the call that closed the cycle. ${describe(first.victim)} gave way${done === undefined ? '' : html`, tried again and was done at ${milliseconds(done.to)} (attempt ${done.attempt})`}.</p>
${drawCycle(first)}
<table><tr><th>at</th><th>between</th><th>gave way</th><th class="n">resolved after</th></tr>${deadlocks.map(
    (one) =>
      html`<tr><td>${milliseconds(one.at)}</td><td>${one.cycle.map(({ waiter }) => waiter).join(', ')}</td><td>${one.victim}</td><td class="n">${one.resolvedAfterMs === undefined ? 'not resolved' : milliseconds(one.resolvedAfterMs)}</td></tr>`,
  )}</table></section>`;
}

function drawConflicts({ conflicts }: Timeline): Html {
  const merged = conflicts.filter(({ outcome }) => outcome === 'merged').length;
  const [first, more] = [conflicts.slice(0, SHOWN), conflicts.slice(SHOWN)];
  return html`<section><h2>Conflicts: ${conflicts.length} found, ${merged} merged</h2>
<p class="soft">An optimistic edit holds nothing while it works. When the file has changed meanwhile, the two edits are merged line by line; when both touched the same lines, the edit is made again on the new text.</p>
${conflictTable(first)}${more.length === 0 ? undefined : html`<details><summary>${more.length} more</summary>${conflictTable(more)}</details>`}</section>`;
}

function conflictTable(conflicts: Timeline['conflicts']): Html {
  return html`<table><tr><th>at</th><th>file</th><th>between</th><th>outcome</th></tr>${conflicts.map(
    ({ at, path, agents, outcome }) =>
      html`<tr><td>${milliseconds(at)}</td><td><code>${path}</code></td><td>${agents.map((name) => html`<span class="name">${name}</span> `)}</td><td class="${outcome === 'merged' ? 'good' : ''}">${outcome}</td></tr>`,
  )}</table>`;
}

function drawHotFiles(plan: Plan, { waits, conflicts }: Timeline, { off }: Runs): Html {
  const rows = plan.hotPaths.map((path) => {
    const mine = waits.filter(({ resource }) => resource === path);
    return {
      path,
      tasks: plan.tasks.filter(({ paths }) => paths.includes(path)).length,
      waits: mine.length,
      waitedMs: mine.reduce((sum, { from, to }) => sum + to - from, 0),
      longestMs: Math.max(0, ...mine.map(({ from, to }) => to - from)),
      conflicts: conflicts.filter((conflict) => conflict.path === path).length,
      lost: off.verified.lostByPath[path] ?? 0,
    };
  });
  const most = Math.max(1, ...rows.map(({ waitedMs }) => waitedMs));
  return html`<section><h2>Hot files</h2><p class="soft">The dozen files that most tasks want: how long they were waited for in the coordinated run, and how many edits they lost without coordination.</p>
<div class="scroll"><table><tr><th>file</th><th class="n">tasks</th><th class="n">waits</th><th>waited in all</th><th class="n">longest</th><th class="n">conflicts</th><th class="n">lost when off</th></tr>${rows.map(
    (row) =>
      html`<tr><td><code>${row.path}</code></td><td class="n">${row.tasks}</td><td class="n">${row.waits}</td><td><svg width="120" height="8"><rect class="wait" width="${((120 * row.waitedMs) / most).toFixed(1)}" height="8" rx="3"/></svg> ${milliseconds(row.waitedMs)}</td><td class="n">${milliseconds(row.longestMs)}</td><td class="n">${row.conflicts}</td><td class="n${row.lost > 0 ? ' bad' : ''}">${row.lost}</td></tr>`,
  )}</table></div></section>`;
}

function drawSteals({ steals }: Timeline): Html {
  const ways = Map.groupBy(steals, ({ from, to }) => `${from} → ${to}`);
  const moved = steals.reduce((sum, { tasks }) => sum + tasks.length, 0);
  return html`<section><h2>Stealing: ${moved} tasks moved</h2><p class="soft">One developer was given far more than the others. Agents with less to do took unstarted tasks off its hands.</p>
<table><tr><th>from → to</th><th class="n">times</th><th class="n">tasks</th></tr>${[...ways].map(
    ([way, list]) =>
      html`<tr><td>${way}</td><td class="n">${list.length}</td><td class="n">${list.reduce((sum, { tasks }) => sum + tasks.length, 0)}</td></tr>`,
  )}</table></section>`;
}

function drawBreaker({ outages }: Timeline): Html {
  return html`<section><h2>Breaker: ${outages.length} ${outages.length === 1 ? 'outage' : 'outages'}</h2><p class="soft">The formatter goes down now and then. After three failures in a row nobody calls it any more; probes find out when it is back.</p>
<table><tr><th>opened at</th><th class="n">closed after</th></tr>${outages.map(
    ({ from, to }) =>
      html`<tr><td>${milliseconds(from)}</td><td class="n">${milliseconds(to - from)}</td></tr>`,
  )}</table></section>`;
}

function drawCounters({ serial, off, coordinated }: Runs): Html {
  const runs = [serial, off, coordinated];
  const rows: readonly (readonly [string, (counters: Counters) => string | number])[] = [
    ['tasks completed', ({ tasks }) => `${tasks.completed} of ${tasks.total}`],
    ['attempts repeated', ({ tasks }) => tasks.failed],
    ['locks acquired', ({ locks }) => locks.acquired],
    ['lock waits', ({ locks }) => locks.waited],
    ['longest lock wait', ({ locks }) => milliseconds(locks.maxWaitMs)],
    ['deadlocks found / resolved', ({ deadlocks }) => `${deadlocks.detected} / ${deadlocks.resolved}`],
    ['conflicts merged / retried', ({ conflicts }) => `${conflicts.merged} / ${conflicts.retried}`],
    ['tasks stolen', ({ steals }) => steals],
    ['breaker opened / closed', ({ breaker }) => `${breaker.opened} / ${breaker.closed}`],
    ['messages', ({ messages }) => messages],
  ];
  const counters = runs.map((run) => countEvents(run.events));
  return html`<section><h2>Counted</h2><p class="soft">From each run's own event log.</p><div class="scroll"><table><tr><th></th>${runs.map((run) => html`<th class="n">${MODES[run.mode].title}</th>`)}</tr>
${rows.map(([name, value]) => html`<tr><td>${name}</td>${counters.map((one) => html`<td class="n">${value(one)}</td>`)}</tr>`)}
<tr><td>commits landed</td>${runs.map((run) => html`<td class="n">${run.report.commits}</td>`)}</tr>
<tr><td>edits missed by QA before landing</td>${runs.map((run) => html`<td class="n">${run.report.missedByQa}</td>`)}</tr></table></div></section>`;
}
