import { importRuns } from './kinds/import-order.ts';
import { parseObject } from './json-text.ts';
import { commentStart, languageOf } from './languages.ts';
import { bare, endedLines } from './lines.ts';
import { marksOf } from './marks.ts';

/**
 * Whether the parts of a file that belong to the squad are in order: sorted, and nothing twice. Edits that were merged line by line may have
 * brought the same line, or two lines in the wrong order, and no textual merge can know that to be wrong.
 */
export function isInOrder(path: string, text: string): boolean {
  if (!isAscending(marksOf(path, text))) return false;
  const family = languageOf(path)?.family;
  if (family === 'json') return parseObject(text) !== undefined;
  const lines = endedLines(text).map(bare);
  const start = `${commentStart(path)}SPDX-`;
  if (!isAscending(lines.filter((line) => line.startsWith(start)))) return false;
  if (family === 'code') {
    const imports = importRuns(lines).map((run) =>
      run.map(({ from, to }) => lines.slice(from, to).join('\n')),
    );
    return imports.every((run) => new Set(run).size === run.length);
  }
  return family !== 'markdown' || isIndexInOrder(lines);
}

function isIndexInOrder(lines: readonly string[]): boolean {
  if (lines.filter((line) => line === '<!-- swarm:toc -->').length > 1) return false;
  const entry =
    lines[0] === '# TODO index' ? '## ' : lines[0]?.startsWith('# Files of ') === true ? '- ' : undefined;
  return entry === undefined || isAscending(lines.filter((line) => line.startsWith(entry)));
}

function isAscending(items: readonly string[]): boolean {
  return items.every((item, i) => i === 0 || (items[i - 1] ?? '') < item);
}
