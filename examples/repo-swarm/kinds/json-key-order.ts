import { parseObject, printObject } from '../json-text.ts';
import { byCodeUnit, endingOf } from '../lines.ts';
import { JSON_MARKS } from '../marks.ts';
import type { EditKind } from './kind.ts';

export const jsonKeyOrder: EditKind = {
  name: 'json-key-order',
  capability: 'data',
  effect:
    'the top-level keys are sorted, the marks last; deeper order may carry meaning (`exports`) and stays',
  apply(text) {
    const object = parseObject(text);
    if (object === undefined) throw new SyntaxError('not a JSON object with one member a line');
    const members = object.members.toSorted(
      (a, b) => Number(a.key === JSON_MARKS) - Number(b.key === JSON_MARKS) || byCodeUnit(a.key, b.key),
    );
    return printObject({ ...object, members }, endingOf(text));
  },
};
