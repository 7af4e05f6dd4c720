import type { Problem } from './checks/evidence.ts';

/** Rows of two columns, aligned. */
export function tableOf(title: string, rows: readonly (readonly [string, string | number])[]): string {
  const width = Math.max(...rows.map(([name]) => name.length));
  return [title, ...rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`)].join('\n');
}

/** The problems, those of one sort together, a few of each. */
export function problemsText(problems: readonly Problem[]): string {
  const groups = Map.groupBy(problems, ({ invariant }) => invariant);
  return [...groups]
    .map(([invariant, list]) => {
      const some = list
        .slice(0, 8)
        .map(({ what, about }) => `    ${about === undefined ? '' : `${about}: `}${what}`);
      const more = list.length > some.length ? [`    … and ${list.length - some.length} more`] : [];
      return [`  ${invariant}: ${list.length}`, ...some, ...more].join('\n');
    })
    .join('\n');
}
