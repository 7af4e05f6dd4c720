import { numberNodes, STANDING_COLOURS, type GraphSnapshot } from './graph-snapshot.ts';

/** A Mermaid flowchart; arrows go from a task to those that wait for it. Ids appear in labels only, escaped. */
export function toMermaid(snapshot: GraphSnapshot): string {
  const names = numberNodes(snapshot);
  const lines = ['flowchart LR'];
  for (const { id, standing } of snapshot.tasks)
    lines.push(`  ${names.get(id)}["${escaped(id)}"]:::${standing}`);
  for (const id of snapshot.referenced) lines.push(`  ${names.get(id)}["${escaped(id)}"]:::referenced`);
  for (const { id, dependencies } of snapshot.tasks) {
    for (const { task, onFailure } of dependencies) {
      const arrow = onFailure === 'cancel' ? '-->' : `-->|${onFailure}|`;
      lines.push(`  ${names.get(task)} ${arrow} ${names.get(id)}`);
    }
  }
  for (const [standing, colour] of Object.entries(STANDING_COLOURS)) {
    const dashes = standing === 'referenced' ? ',stroke-dasharray:4' : '';
    lines.push(`  classDef ${standing} fill:${colour},stroke:#546e7a,color:#000${dashes}`);
  }
  return `${lines.join('\n')}\n`;
}

/**
 * Everything but letters, digits and harmless marks becomes an entity: a label can neither end itself, nor hold a `%%{…}%%` directive, HTML,
 * a line break or Markdown.
 */
function escaped(text: string): string {
  return text.replaceAll(/[^\p{L}\p{N} .,:/_-]/gu, (mark) => `#${mark.codePointAt(0)};`);
}
