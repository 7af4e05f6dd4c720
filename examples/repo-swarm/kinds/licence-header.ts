import { comment, commentStart } from '../languages.ts';
import { bare, endedLines, endingOf } from '../lines.ts';
import type { EditKind } from './kind.ts';

/** The SPDX file tags a header is made of; each is a task of its own. */
export const HEADER_TAGS: readonly string[] = [
  'SPDX-FileContributor',
  'SPDX-FileCopyrightText',
  'SPDX-FileType',
  'SPDX-License-Identifier',
];

export const licenceHeader: EditKind = {
  name: 'licence-header',
  capability: 'text',
  effect: 'the SPDX line stands in the comment block at the top',
  apply(text, { path, options }) {
    const line = comment(path, options['line'] ?? '');
    const lines = endedLines(text);
    let at = lines[0]?.startsWith('#!') === true ? 1 : 0;
    while (lines[at]?.startsWith(`${commentStart(path)}SPDX-`) === true) {
      if (bare(lines[at] as string) === line) return lines.join('');
      if (bare(lines[at] as string) > line) break;
      at += 1;
    }
    return lines.toSpliced(at, 0, line + endingOf(text)).join('');
  },
};
