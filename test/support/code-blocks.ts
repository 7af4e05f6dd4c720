import { readFileSync } from 'node:fs';

export interface CodeBlock {
  readonly file: string;
  readonly line: number;
  readonly language: string;
  /** Words after the language: ```ts run → `run`. */
  readonly marks: readonly string[];
  readonly text: string;
}

/** The fenced code blocks of a Markdown file, in order. */
export function codeBlocks(file: string): readonly CodeBlock[] {
  const blocks: CodeBlock[] = [];
  let open: { readonly line: number; readonly info: string; readonly lines: string[] } | undefined;
  readFileSync(file, 'utf8')
    .split('\n')
    .forEach((text, i) => {
      const fence = /^```(.*)$/.exec(text);
      if (fence === null) open?.lines.push(text);
      else if (open === undefined) open = { line: i + 1, info: fence[1] ?? '', lines: [] };
      else {
        const [language = '', ...marks] = open.info.trim().split(/\s+/);
        blocks.push({ file, line: open.line, language, marks, text: `${open.lines.join('\n')}\n` });
        open = undefined;
      }
    });
  if (open !== undefined) throw new Error(`${file}:${open.line}: this code block does not end`);
  return blocks;
}
