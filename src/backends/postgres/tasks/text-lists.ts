const SEPARATOR = '\u001f';
const NULL = '\u001e';

/**
 * Lists of texts on their way to the server: each joined to one text, which costs both sides a fraction of what an array of texts does.
 * What separates them occurs in none of them, and what means SQL null is none of them. JSON text holds no control characters, so only the
 * users' own texts have to be looked at.
 */
export class TextLists {
  readonly separator: string;
  readonly null: string;

  /** @param raw the texts that may hold any character */
  constructor(raw: readonly (string | undefined)[]) {
    let separator = SEPARATOR;
    let none = NULL;
    // Of one begin and another end that don't occur in between: no text before it can make it begin earlier.
    for (let i = 0; raw.some((text) => text?.includes(separator) === true); i++)
      separator = `${SEPARATOR}${i}!`;
    for (let i = 0; raw.includes(none); i++) none = `${NULL}${i}`;
    this.separator = separator;
    this.null = none;
  }

  /** Texts that are all there. */
  all(texts: readonly string[]): string {
    return texts.join(this.separator);
  }

  /** Texts of which some may be absent; null when all are. */
  some(texts: readonly (string | undefined)[]): string | null {
    if (texts.every((text) => text === undefined)) return null;
    return texts.map((text) => text ?? this.null).join(this.separator);
  }
}

/** An array literal of numbers; of one that holds for all where they are alike. */
export function numberList(numbers: readonly number[]): string {
  const first = numbers[0] as number;
  return numbers.every((number) => number === first) ? `{${first}}` : `{${numbers.join(',')}}`;
}

/** The JSON text of a value; absent ones have none. */
export function textOf(value: unknown): string | undefined {
  return value === undefined ? undefined : JSON.stringify(value);
}
