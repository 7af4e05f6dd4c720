import type { TypeParsers } from './driver.ts';

const OID = {
  bool: 16,
  int8: 20,
  int2: 21,
  int4: 23,
  oid: 26,
  json: 114,
  float4: 700,
  float8: 701,
  jsonb: 3802,
  boolArray: 1_000,
  int2Array: 1_005,
  int4Array: 1_007,
  textArray: 1_009,
  varcharArray: 1_015,
  int8Array: 1_016,
  float8Array: 1_022,
} as const;

const asText = (value: string): string => value;
const asNumber = Number;
const asBoolean = (value: string): boolean => value === 't';
const asJson = (value: string): unknown => JSON.parse(value);

const PARSERS: ReadonlyMap<number, (value: string) => unknown> = new Map<number, (value: string) => unknown>([
  [OID.bool, asBoolean],
  [OID.int8, asNumber],
  [OID.int2, asNumber],
  [OID.int4, asNumber],
  [OID.oid, asNumber],
  [OID.float4, asNumber],
  [OID.float8, asNumber],
  [OID.json, asJson],
  [OID.jsonb, asJson],
  [OID.boolArray, (value) => parseArray(value, asBoolean)],
  [OID.int2Array, (value) => parseArray(value, asNumber)],
  [OID.int4Array, (value) => parseArray(value, asNumber)],
  [OID.int8Array, (value) => parseArray(value, asNumber)],
  [OID.float8Array, (value) => parseArray(value, asNumber)],
  [OID.textArray, (value) => parseArray(value, asText)],
  [OID.varcharArray, (value) => parseArray(value, asText)],
]);

/**
 * How the backend's own answers are read, given with each query: bigint as a number (all of ours are below 2^53), everything else as
 * node-postgres does. Its table of types for the whole process stays as its user set it.
 */
export const VALUE_PARSERS: TypeParsers = {
  getTypeParser: (oid) => PARSERS.get(oid) ?? asText,
};

/** Reads the text of a one-dimensional array, `{1,NULL,"a \"b\""}`. */
export function parseArray<T>(text: string, parse: (value: string) => T): (T | null)[] {
  const items: (T | null)[] = [];
  let at = 1;
  const end = text.length - 1;
  while (at < end) {
    if (text[at] === '"') {
      let value = '';
      at += 1;
      let from = at;
      while (text[at] !== '"') {
        if (text[at] === '\\') {
          value += text.slice(from, at);
          at += 1;
          from = at;
        }
        at += 1;
      }
      items.push(parse(value + text.slice(from, at)));
      at += 2;
      continue;
    }
    let comma = text.indexOf(',', at);
    if (comma < 0) comma = end;
    const raw = text.slice(at, comma);
    items.push(raw === 'NULL' ? null : parse(raw));
    at = comma + 1;
  }
  return items;
}
