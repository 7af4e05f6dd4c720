/** How the lines of a text end; `undefined`: it has no line end; `'mixed'`: in both ways. */
export type Ending = '\n' | '\r\n' | 'mixed' | undefined;

export function endingOf(text: string): Ending {
  let lone = false;
  let pairs = false;
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) {
    if (at > 0 && text.charCodeAt(at - 1) === 13) pairs = true;
    else lone = true;
    if (lone && pairs) return 'mixed';
  }
  if (pairs) return '\r\n';
  return lone ? '\n' : undefined;
}

/** A text as lines without their ends, and whether the last one is ended too. A text without any character has no lines. */
export function splitLines(
  text: string,
  ending: string,
): { readonly lines: readonly string[]; readonly ended: boolean | undefined } {
  if (text === '') return { lines: [], ended: undefined };
  const lines = text.split(ending);
  const ended = lines.at(-1) === '';
  if (ended) lines.pop();
  return { lines, ended };
}

export function joinLines(lines: readonly string[], ending: string, ended: boolean): string {
  return lines.join(ending) + (ended && lines.length > 0 ? ending : '');
}
