/** The items in order, at most `most` at a time; none for none. */
export function* slices<T>(items: readonly T[], most: number): Generator<readonly T[]> {
  if (items.length > 0 && items.length <= most) yield items;
  else for (let from = 0; from < items.length; from += most) yield items.slice(from, from + most);
}
