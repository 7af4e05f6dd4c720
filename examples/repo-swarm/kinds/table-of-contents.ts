import { bare, endedLines, endingOf } from '../lines.ts';
import type { EditKind } from './kind.ts';

const BEGIN = '<!-- swarm:toc -->';
const END = '<!-- /swarm:toc -->';

export const tableOfContents: EditKind = {
  name: 'table-of-contents',
  capability: 'docs',
  effect: 'a list below the title links every heading of level 2 and 3, in order',
  apply(text) {
    const lines = withoutContents(endedLines(text));
    const title = headings(lines).find(({ level }) => level === 1);
    if (title === undefined) return lines.join('');
    const ending = endingOf(text);
    const contents = ['', BEGIN, ...entries(lines), END].map((line) => line + ending);
    return lines.toSpliced(title.at + 1, 0, ...contents).join('');
  },
};

export interface Heading {
  readonly level: number;
  readonly title: string;
  readonly at: number;
}

/** The ATX headings outside code fences. */
export function headings(lines: readonly string[]): readonly Heading[] {
  const found: Heading[] = [];
  let fence: string | undefined;
  for (const [at, line] of lines.map(bare).entries()) {
    const mark = /^ {0,3}(`{3,}|~{3,})/.exec(line)?.[1];
    if (fence !== undefined) {
      if (mark?.startsWith(fence) === true) fence = undefined;
    } else if (mark !== undefined) fence = mark;
    else {
      const heading = /^(#{1,6})[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*$/.exec(line);
      if (heading !== null) found.push({ level: heading[1]?.length ?? 1, title: heading[2] ?? '', at });
    }
  }
  return found;
}

function entries(lines: readonly string[]): readonly string[] {
  const seen = new Map<string, number>();
  return headings(lines).flatMap(({ level, title }) => {
    const slug = slugOf(title);
    const before = seen.get(slug) ?? 0;
    seen.set(slug, before + 1);
    if (level !== 2 && level !== 3) return [];
    const text = title.replaceAll(/[[\]]/g, '\\$&');
    return `${level === 3 ? '  ' : ''}- [${text}](#${before === 0 ? slug : `${slug}-${before}`})`;
  });
}

/** The anchor that common renderers give a heading. */
function slugOf(title: string): string {
  return title
    .toLowerCase()
    .replaceAll(/[^\p{Letter}\p{Number}\s_-]/gu, '')
    .trim()
    .replaceAll(/\s/g, '-');
}

function withoutContents(lines: readonly string[]): readonly string[] {
  const from = lines.findIndex((line) => bare(line) === BEGIN);
  const to = lines.findIndex((line) => bare(line) === END);
  return from > 0 && to > from ? lines.toSpliced(from - 1, to - from + 2) : lines;
}
