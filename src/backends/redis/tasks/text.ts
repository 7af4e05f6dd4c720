/*
 * Names and reasons as the store keeps them: without control characters, which separate the fields of a record, and without a quotation mark in
 * front. What has either, or half a surrogate pair, is kept as the JSON string of it.
 */

// oxlint-disable-next-line no-control-regex
const AWKWARD = /[\u0000-\u001f]|^"/;

/** What the store keeps for a text. */
export function toStored(text: string): string {
  return AWKWARD.test(text) || !text.isWellFormed() ? JSON.stringify(text) : text;
}

/** The text behind what the store keeps. */
export function fromStored(stored: string): string {
  return stored.startsWith('"') ? (JSON.parse(stored) as string) : stored;
}

/** The JSON of user data; nothing for `undefined`. */
export function toJson(value: unknown): string {
  return value === undefined ? '' : JSON.stringify(value);
}

export function fromJson(text: string | undefined): unknown {
  return text === undefined || text === '' ? undefined : (JSON.parse(text) as unknown);
}
