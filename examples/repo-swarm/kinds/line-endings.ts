import type { EditKind } from './kind.ts';

export const lineEndings: EditKind = {
  name: 'line-endings',
  capability: 'text',
  effect: 'every line ends in LF, the last one too',
  apply(text) {
    const unix = text.replaceAll('\r\n', '\n');
    return unix === '' || unix.endsWith('\n') ? unix : `${unix}\n`;
  },
};
