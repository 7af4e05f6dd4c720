/** What a kind needs to know of one edit beside the text. All of it stands in the plan. */
export interface Edit {
  /** The file that is edited. */
  readonly path: string;
  /** The file an index entry speaks of. */
  readonly source?: { readonly path: string; readonly text: string };
  readonly options: Readonly<Record<string, string>>;
}

/**
 * A kind of edit. Applying it twice changes nothing more, and two edits of any kinds give the same text in either order: each owns a part
 * of the file, and reads only what no other kind changes. The planner keeps the one that reaches everywhere, the rename, away from
 * names that others read.
 */
export interface EditKind {
  readonly name: string;
  /** What an agent must be able to do. */
  readonly capability: 'text' | 'code' | 'docs' | 'data';
  /** What holds afterwards, and is checked by `verify.mjs`. */
  readonly effect: string;
  apply(text: string, edit: Edit): string;
}
