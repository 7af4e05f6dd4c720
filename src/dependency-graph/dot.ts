import { numberNodes, STANDING_COLOURS, type GraphSnapshot } from './graph-snapshot.ts';
import type { TaskStanding } from './task-standing.ts';

/** A Graphviz drawing; arrows go from a task to those that wait for it. Ids appear in labels only, escaped. */
export function toDot(snapshot: GraphSnapshot): string {
  const names = numberNodes(snapshot);
  const lines = ['digraph dependencies {', '  rankdir=LR;', '  node [shape=box, style="rounded,filled"];'];
  const node = (id: string, standing: TaskStanding, more = ''): void => {
    lines.push(
      `  ${names.get(id)} [label="${escaped(id)}", fillcolor="${STANDING_COLOURS[standing]}"${more}];`,
    );
  };
  for (const { id, standing } of snapshot.tasks) node(id, standing);
  for (const id of snapshot.referenced) node(id, 'referenced', ', style="rounded,dashed"');
  for (const { id, dependencies } of snapshot.tasks) {
    for (const { task, onFailure } of dependencies) {
      const label = onFailure === 'cancel' ? '' : ` [label="${onFailure}"]`;
      lines.push(`  ${names.get(task)} -> ${names.get(id)}${label};`);
    }
  }
  return `${[...lines, '}'].join('\n')}\n`;
}

/** Labels interpret backslashes and HTML entities even inside quotes. */
function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll(/["\\]/g, '\\$&');
}
