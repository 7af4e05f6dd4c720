import { bare, byCodeUnit, endedLines } from '../lines.ts';
import type { EditKind } from './kind.ts';

/** One import statement and the lines it takes. */
interface Statement {
  readonly specifier: string;
  readonly from: number;
  readonly to: number;
}

export const importOrder: EditKind = {
  name: 'import-order',
  capability: 'code',
  effect: 'imports that follow one another are sorted by module specifier',
  apply(text) {
    const lines = endedLines(text);
    let sorted = lines;
    for (const run of importRuns(lines)) {
      const ordered = run.toSorted((a, b) => byCodeUnit(a.specifier, b.specifier));
      const from = run[0]?.from ?? 0;
      const to = run.at(-1)?.to ?? 0;
      sorted = sorted.toSpliced(from, to - from, ...ordered.flatMap((one) => lines.slice(one.from, one.to)));
    }
    return sorted.join('');
  },
};

/**
 * Runs of import statements without anything between them, in the head of a module: the search ends at the first line of other code, so
 * text that looks like an import inside a template is never touched. An import for its side effects ends a run: it must not be passed.
 */
export function importRuns(lines: readonly string[]): readonly (readonly Statement[])[] {
  const runs: Statement[][] = [[]];
  let at = lines[0]?.startsWith('#!') === true ? 1 : 0;
  while (at < lines.length) {
    const line = bare(lines[at] as string);
    if (line.startsWith('import ') || line.startsWith('import{')) {
      const statement = statementAt(lines, at);
      if (statement === undefined) break;
      if (statement.specifier === '') runs.push([]);
      else runs.at(-1)?.push(statement);
      at = statement.to;
    } else {
      const next = afterComment(lines, at);
      if (next === at) break;
      runs.push([]);
      at = next;
    }
  }
  return runs.filter((run) => run.length > 1);
}

/** The import that begins at `from`; its specifier is '' when it imports nothing by name. */
function statementAt(lines: readonly string[], from: number): Statement | undefined {
  let text = '';
  for (let at = from; at < Math.min(lines.length, from + 60); at++) {
    text += `${bare(lines[at] as string)}\n`;
    const end =
      /^import\s*(?:[^'";]*?\sfrom\s*)?(['"])([^'"\n]+)\1(?:\s*with\s*\{[^}]*\})?;?[ \t]*(?:\/\/.*)?\n$/.exec(
        text,
      );
    if (end !== null) {
      const named = /^import\s*['"]/.test(text) ? '' : (end[2] ?? '');
      return { specifier: named, from, to: at + 1 };
    }
  }
  return undefined;
}

/** The line after the blank line, directive or comment at `at`; `at` itself when other code stands there. */
function afterComment(lines: readonly string[], at: number): number {
  const line = bare(lines[at] as string).trim();
  if (line === '' || line.startsWith('//') || /^(['"])use \w+\1;?$/.test(line)) return at + 1;
  if (!line.startsWith('/*')) return at;
  for (let end = at; end < lines.length; end++) {
    const closing = bare(lines[end] as string).indexOf('*/', end === at ? line.indexOf('/*') + 2 : 0);
    if (closing >= 0)
      return bare(lines[end] as string)
        .slice(closing + 2)
        .trim() === ''
        ? end + 1
        : at;
  }
  return at;
}
