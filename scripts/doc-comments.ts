import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

/** What the generators of the reference read from the source. */

export const root = fileURLToPath(new URL('..', import.meta.url));
export const GENERATED = 'Generated from the source by `npm run docs:reference`; a test compares it.';

export function parse(path: string): ts.SourceFile {
  return ts.createSourceFile(path, readFileSync(`${root}${path}`, 'utf8'), ts.ScriptTarget.Latest, true);
}

/** The doc comment of a node as one line, or `undefined`. */
export function commentOf(node: ts.Node, source: ts.SourceFile): string | undefined {
  const text = source.text;
  const ranges = ts.getLeadingCommentRanges(text, node.getFullStart()) ?? [];
  const doc = ranges.findLast((range) => text.startsWith('/**', range.pos));
  if (doc === undefined) return undefined;
  const body = text.slice(doc.pos + 3, doc.end - 2);
  return body
    .replaceAll(/\s*\n\s*\*\s?/g, ' ')
    .replaceAll(/\s+/g, ' ')
    .trim();
}

/** A text as the cell of a table. */
export function cell(text: string): string {
  return text.replaceAll(/\s+/g, ' ').replaceAll('|', '\\|').trim();
}

export function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
