import { addMark } from '../marks.ts';
import { folderIndex } from './folder-index.ts';
import { importOrder } from './import-order.ts';
import { jsonKeyOrder } from './json-key-order.ts';
import type { Edit, EditKind } from './kind.ts';
import { licenceHeader } from './licence-header.ts';
import { lineEndings } from './line-endings.ts';
import { symbolRename } from './symbol-rename.ts';
import { tableOfContents } from './table-of-contents.ts';
import { todoIndex } from './todo-index.ts';

/** Every kind of edit the squad can do, by name. */
export const KINDS: ReadonlyMap<string, EditKind> = new Map(
  [
    licenceHeader,
    importOrder,
    jsonKeyOrder,
    lineEndings,
    todoIndex,
    tableOfContents,
    symbolRename,
    folderIndex,
  ].map((kind) => [kind.name, kind]),
);

export function kindOf(name: string): EditKind {
  const kind = KINDS.get(name);
  if (kind === undefined) throw new TypeError(`no edit kind ${JSON.stringify(name)}`);
  return kind;
}

/** Does one edit and leaves its mark. */
export function applyEdit(name: string, text: string, edit: Edit, mark: string): string {
  return kindOf(name).apply(addMark(edit.path, text, mark), edit);
}
