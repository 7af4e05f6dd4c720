import { KINDS } from '../kinds/index.ts';
import type { EditTask, Plan } from '../plan.ts';
import { AGENTS } from '../squad.ts';
import { html, type Html, milliseconds, px } from './html.ts';
import type { Span, Timeline } from './timeline.ts';

const WIDTH = 1_160;
const LEFT = 76;
const TOP = 34;
const LANE = 30;
const BAR = 18;
/** The one colour of everything that isn't an edit. */
const OTHER = 'other';

/** The run as a picture: a lane for each agent, what it did, what it waited for, and where the mesh stepped in. */
export function drawLanes(plan: Plan, timeline: Timeline): Html {
  const tasks = new Map(plan.tasks.map((task) => [task.id, task]));
  const x = (ms: number): number => LEFT + ((WIDTH - LEFT - 8) * ms) / Math.max(1, timeline.durationMs);
  const y = (agentId: string): number => TOP + LANE * Math.max(0, AGENTS.indexOf(agentId));
  const height = TOP + LANE * AGENTS.length + 6;
  const middle = (agentId: string): number => y(agentId) + LANE / 2;
  return html`<div class="scroll"><svg class="lanes" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="What each agent did over time">
${drawGrid(timeline.durationMs, x, height)}
${timeline.outages.map(({ from, to }) => html`<g class="outage"><rect x="${px(x(from))}" y="${TOP - 12}" width="${px(Math.max(2, x(to) - x(from)))}" height="${height - TOP + 8}"/><title>The breaker was open or probing for ${milliseconds(to - from)}</title></g>`)}
${AGENTS.map((agent) => html`<text class="agent" x="0" y="${px(middle(agent) + 4)}">${agent}</text><line class="base" x1="${LEFT}" x2="${WIDTH - 8}" y1="${px(y(agent) + LANE)}" y2="${px(y(agent) + LANE)}"/>`)}
${withDepth(timeline.spans).map(({ span, depth }) => drawSpan(span, depth, tasks.get(span.taskId), x, y(span.agentId)))}
${timeline.waits
  .filter(({ agentId }) => AGENTS.includes(agentId))
  .map(
    ({ agentId, from, to, resource, granted }) =>
      html`<rect class="wait${granted ? '' : ' given-up'}" x="${px(x(from))}" y="${px(y(agentId) + (LANE + BAR) / 2 - 4)}" width="${px(Math.max(1, x(to) - x(from)))}" height="4"><title>${agentId} waited ${milliseconds(to - from)} for ${resource}${granted ? '' : ', in vain'}</title></rect>`,
  )}
${timeline.steals.map(({ at, from, to, tasks }) => {
  const side = x(at);
  return html`<path class="steal" marker-end="url(#arrow)" d="M${px(side)} ${px(middle(from))} C${px(side + 22)} ${px(middle(from))} ${px(side + 22)} ${px(middle(to))} ${px(side + 3)} ${px(middle(to))}"><title>${to} took ${tasks.length} unstarted tasks from ${from}: ${tasks.join(', ')}</title></path>`;
})}
${timeline.conflicts.map(({ at, path, agents, outcome }) => {
  const [cx, cy] = [x(at), y(agents[0]?.split('/')[0] ?? '') + 7];
  return html`<path class="conflict ${outcome}" d="M${px(cx)} ${px(cy - 5)} l5 5 l-5 5 l-5 -5 z"><title>${agents.join(' and ')} both changed ${path}: ${outcome}</title></path>`;
})}
${timeline.deadlocks.map(({ at, agents, victim }) => {
  const rows = agents.map(middle);
  const [top, bottom] = [Math.min(...rows), Math.max(...rows)];
  return html`<g class="deadlock"><line x1="${px(x(at))}" x2="${px(x(at))}" y1="${px(top)}" y2="${px(bottom)}"/>${rows.map((row) => html`<circle cx="${px(x(at))}" cy="${px(row)}" r="5"/>`)}<title>Deadlock of ${agents.join(' and ')}: ${victim} gave way</title></g>`;
})}
<defs><marker id="arrow" viewBox="0 0 6 6" refX="5" refY="3" markerWidth="6" markerHeight="6" orient="auto"><path class="arrow" d="M0 0 L6 3 L0 6 z"/></marker>
<pattern id="hatch" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="hatch" width="2" height="5"/></pattern></defs>
</svg></div>`;
}

/** What the colours and signs mean. */
export function drawLegend(): Html {
  const kinds = [...KINDS.keys()].map(
    (name) => html`<li><i class="box k-${name}"></i>${name.replaceAll('-', ' ')}</li>`,
  );
  const signs: readonly (readonly [string, string])[] = [
    [`box k-${OTHER}`, 'plan, check, land'],
    ['box failed', 'attempt repeated'],
    ['box inner', 'begun while another waited'],
    ['dash wait', 'waits for a lock'],
    ['dot deadlock', 'deadlock'],
    ['diamond merged', 'conflict merged'],
    ['diamond retried', 'conflict, edit repeated'],
    ['arrowline steal', 'tasks stolen'],
    ['box outage', 'breaker open'],
  ];
  return html`<ul class="legend">${kinds}${signs.map(([style, text]) => html`<li><i class="${style}"></i>${text}</li>`)}</ul>`;
}

/** While a task waits for a lock or a reply its agent may work on another: that one is drawn smaller, on top. */
function withDepth(spans: readonly Span[]): readonly { readonly span: Span; readonly depth: number }[] {
  const busyUntil = new Map<string, number[]>();
  return spans
    .toSorted((a, b) => a.from - b.from)
    .map((span) => {
      const ends = busyUntil.get(span.agentId) ?? [];
      const free = ends.findIndex((end) => end <= span.from);
      const depth = free < 0 ? ends.length : free;
      busyUntil.set(span.agentId, ends.toSpliced(depth, 1, span.to));
      return { span, depth };
    });
}

function drawSpan(
  span: Span,
  depth: number,
  task: EditTask | undefined,
  x: (ms: number) => number,
  top: number,
): Html {
  const { from, to, failure, taskId, attempt } = span;
  const what =
    task === undefined ? taskId : `${taskId} ${task.kind} (${task.mode}): ${task.paths.join(', ')}`;
  const ending = failure === undefined ? '' : `, failed: ${failure}`;
  const height = Math.max(6, BAR - 6 * depth);
  const bar = (style: string): Html =>
    html`<rect class="${style}" x="${px(x(from))}" y="${px(top + (LANE - height) / 2)}" width="${px(Math.max(1, x(to) - x(from) - 0.5))}" height="${height}" rx="2"/>`;
  const style = `span${failure === undefined ? '' : ' failed'}${depth === 0 ? '' : ' inner'}`;
  return html`<g class="${style}">${bar(`k-${task?.kind ?? OTHER}`)}${failure === undefined ? undefined : bar('over')}<title>${what} · attempt ${attempt} · ${milliseconds(to - from)}${ending}</title></g>`;
}

function drawGrid(durationMs: number, x: (ms: number) => number, height: number): readonly Html[] {
  const step =
    [50, 100, 200, 250, 500, 1_000, 2_000, 5_000].find((size) => durationMs / size <= 12) ?? 10_000;
  return Array.from({ length: Math.floor(durationMs / step) + 1 }, (_, i) => i * step).map(
    (ms) =>
      html`<line class="tick" x1="${px(x(ms))}" x2="${px(x(ms))}" y1="${TOP - 12}" y2="${height - 6}"/><text class="time" x="${px(x(ms))}" y="14">${ms / 1_000} s</text>`,
  );
}
