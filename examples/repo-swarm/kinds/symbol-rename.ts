import type { EditKind } from './kind.ts';

export const symbolRename: EditKind = {
  name: 'symbol-rename',
  capability: 'code',
  effect: 'the old name is gone from the file, and the new one stands wherever it stood',
  apply(text, { options }) {
    return text.replaceAll(wholeWord(options['from'] ?? ''), options['to'] ?? '');
  },
};

/** Matches an identifier that isn't part of a longer one. */
export function wholeWord(name: string): RegExp {
  if (!/^[A-Za-z_]\w*$/.test(name)) throw new TypeError(`not a plain identifier: ${JSON.stringify(name)}`);
  return new RegExp(`(?<![\\w$])${name}(?![\\w$])`, 'g');
}
