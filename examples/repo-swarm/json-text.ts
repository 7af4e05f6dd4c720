import { endingOf } from './lines.ts';

/** One top-level member as written: nothing inside it is ever re-formatted. */
export interface Member {
  readonly key: string;
  readonly raw: string;
}

/** A JSON object with one member a line (or lines), as formatters write it. */
export interface JsonObject {
  readonly members: readonly Member[];
  readonly indent: string;
  readonly tail: string;
}

/**
 * The members of a JSON object as text, or `undefined` when the text isn't one, repeats a key, or isn't laid out one member a line: such
 * a file couldn't be written back unchanged.
 */
export function parseObject(text: string): JsonObject | undefined {
  const indent = /^\{\r?\n([ \t]+)"/.exec(text)?.[1];
  if (indent === undefined || !isJson(text)) return undefined;
  const members = splitMembers(text).map((raw) => ({ key: keyOf(raw), raw }));
  const object = { members, indent, tail: text.slice(text.lastIndexOf('}')) };
  const distinct = new Set(members.map((member) => member.key)).size === members.length;
  return distinct && printObject(object, endingOf(text)) === text ? object : undefined;
}

export function printObject({ members, indent, tail }: JsonObject, ending: string): string {
  return `{${ending}${members.map((member) => indent + member.raw).join(`,${ending}`)}${ending}${tail}`;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function keyOf(raw: string): string {
  return JSON.parse(/^"(?:[^"\\]|\\.)*"/.exec(raw)?.[0] ?? '""') as string;
}

/** Cuts valid JSON at the commas of its outermost object. */
function splitMembers(text: string): string[] {
  const members: string[] = [];
  let depth = 0;
  let from = 0;
  for (const { 0: token, index } of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\],]/g)) {
    if (token === '{' || token === '[') {
      depth += 1;
      if (depth === 1) from = index + 1;
    } else if (token === '}' || token === ']') {
      depth -= 1;
      if (depth === 0) members.push(text.slice(from, index).trim());
    } else if (token === ',' && depth === 1) {
      members.push(text.slice(from, index).trim());
      from = index + 1;
    }
  }
  return members;
}
