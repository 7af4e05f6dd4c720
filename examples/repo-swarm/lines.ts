/** Lines of a text with their endings kept, so that joining them gives the text back byte for byte. */
export function splitLines(text: string): string[] {
  return text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
}

/** The line without its ending. */
export function bare(line: string): string {
  return line.replace(/\r?\n$/, '');
}

/** How inserted lines end: like the file's own. One CRLF anywhere makes it a CRLF file, so no edit but `line-endings` changes the answer. */
export function endingOf(text: string): '\r\n' | '\n' {
  return text.includes('\r\n') ? '\r\n' : '\n';
}

/** The lines, the last one ended as well. */
export function endedLines(text: string): string[] {
  return splitLines(text === '' || text.endsWith('\n') ? text : text + endingOf(text));
}

/** Compares by code unit: the same order on every machine, whatever its locale. */
export function byCodeUnit(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
