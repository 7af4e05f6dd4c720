import { checkRecord, reading } from './check.ts';
import { CoordinationError, describe } from './errors.ts';
import { nearestName } from './nearest-name.ts';
import { KNOWN_ELSEWHERE, LEGACY_OF, MANAGER_KEYS, placeOf } from './option-places.ts';
import { type NumberSpec, OPTIONS, type OptionSpec, type OptionTable, type Part } from './option-table.ts';

export { OPTIONS } from './option-table.ts';

type ValueOf<S> = S extends { readonly kind: 'flag' }
  ? boolean
  : S extends { readonly kind: 'choice'; readonly of: readonly (infer C)[] }
    ? C
    : S extends { readonly kind: 'other' }
      ? unknown
      : number;
/** The options of a part after checking: defaults filled in; those without default may be `undefined`. */
export type Resolved<P extends Part> = {
  readonly [K in keyof (typeof OPTIONS)[P]]: (typeof OPTIONS)[P][K] extends { readonly default: undefined }
    ? ValueOf<(typeof OPTIONS)[P][K]> | undefined
    : ValueOf<(typeof OPTIONS)[P][K]>;
};

/**
 * Checks the options of a part and fills in the defaults. Keys of other parts are known and passed over (one object may go to every class),
 * anything else is refused.
 * @param alone true when the object belongs to this part only, so that keys of other parts are refused too.
 * @throws INVALID_OPTION with the nearest known name, or with what was expected.
 */
export function resolveOptions<P extends Part>(
  part: P,
  given: object | undefined,
  alone = false,
): Resolved<P> {
  const table: OptionTable = OPTIONS[part];
  const values = readable(part, given);
  for (const key of Object.keys(values)) {
    if (Object.hasOwn(table, key)) continue;
    if (!alone && KNOWN_ELSEWHERE.has(key)) continue;
    throw unknownOption(part, key, alone ? Object.keys(table) : [...Object.keys(table), ...KNOWN_ELSEWHERE]);
  }
  const resolved: Record<string, unknown> = {};
  for (const [key, spec] of Object.entries(table)) {
    const value = values[key];
    resolved[key] = value === undefined ? spec.default : checkOption(`${part}.${key}`, spec, value);
  }
  return resolved as Resolved<P>;
}

/** The value of one option, checked. @throws INVALID_OPTION */
export function checkOption(name: string, spec: OptionSpec, value: unknown): unknown {
  if (spec.kind === 'other') return value;
  const expected = unmet(spec, value);
  if (expected === undefined) return value;
  throw new CoordinationError(
    'INVALID_OPTION',
    `Expected \`${name}\` to be ${expected}, got ${describe(value)}`,
  );
}

/** What the value should be; `undefined` when it is. */
function unmet(spec: Exclude<OptionSpec, { kind: 'other' }>, value: unknown): string | undefined {
  switch (spec.kind) {
    case 'flag':
      return typeof value === 'boolean' ? undefined : 'true or false';
    case 'choice':
      return typeof value === 'string' && spec.of.includes(value)
        ? undefined
        : `one of ${spec.of.join(', ')}`;
    default:
      return unmetNumber(spec, value);
  }
}

const NUMBER_WORDS = {
  count: 'an integer',
  ms: 'a number of ms',
  ratio: 'a number',
  percent: 'a number',
  number: 'a number',
} as const;
const NATURAL_MAX: Partial<Record<string, number>> = { ratio: 1, percent: 100 };

function unmetNumber({ kind, min = 0, max }: NumberSpec, value: unknown): string | undefined {
  const most = max ?? NATURAL_MAX[kind];
  // An unlimited count or time may be asked for as Infinity.
  if (value === Number.POSITIVE_INFINITY && most === undefined) return undefined;
  const isInside = typeof value === 'number' && value >= min && value <= (most ?? Number.MAX_SAFE_INTEGER);
  if (isInside && (kind !== 'count' || Number.isInteger(value))) return undefined;
  return `${NUMBER_WORDS[kind]} from ${min}${most === undefined ? '' : ` to ${most}`}`;
}

/**
 * A thing that the user hands in to be used as it is (a clock, a logger, a backend): it must have these methods, or it would fail in the
 * middle of something. @throws INVALID_OPTION
 */
export function checkMethods<T>(name: string, value: T, methods: readonly string[]): T {
  if (value === undefined) return value;
  const missing = reading(`\`${name}\``, () =>
    methods.find((method) => typeof (value as Record<string, unknown> | null)?.[method] !== 'function'),
  );
  if (missing === undefined) return value;
  throw new CoordinationError(
    'INVALID_OPTION',
    `Expected \`${name}\` to have a method ${missing}, got ${describe(value)}`,
  );
}

/**
 * Refuses what a manager wouldn't read: keys it doesn't know, and keys of a part that stand beside the part instead of in it.
 * @throws INVALID_OPTION saying where the key belongs, else with the nearest known name
 */
export function refuseMisplaced(options: object): void {
  const known = [...MANAGER_KEYS, ...Object.keys(OPTIONS.manager)];
  for (const key of Object.keys(options)) {
    if (known.includes(key)) continue;
    throw unknownOption('manager', key, known, placeOf(key, 'manager'));
  }
}

/** The same for the options of a part inside of a manager's: there only one part reads them. @throws INVALID_OPTION */
export function refuseMisplacedIn(part: Part, options: object): void {
  const known = [...Object.keys(OPTIONS[part]), ...(LEGACY_OF[part] ?? [])];
  for (const key of Object.keys(options)) {
    if (known.includes(key)) continue;
    throw unknownOption(part, key, known, placeOf(key, part));
  }
}

/**
 * The options of a call, which may be absent: a copy, read once, in which every name is known.
 * @throws INVALID_ARGUMENT when they are no object, INVALID_OPTION with the nearest known name
 */
export function checkOptions<T extends object>(
  call: string,
  given: T | undefined,
  known: readonly (keyof T & string)[],
  what = `the options of ${call}`,
): T {
  const options = given === undefined ? ({} as T) : checkRecord(given, what);
  for (const key of Object.keys(options))
    if (!(known as readonly string[]).includes(key)) throw unknownOption(call, key, known);
  return options;
}

/** Refuses keys that are not in `known`. @throws INVALID_OPTION with the nearest known name */
export function refuseUnknown(part: string, given: object, known: readonly string[]): void {
  checkIsRecord(part, given);
  for (const key of reading(`\`${part}\``, () => Object.keys(given)))
    if (!known.includes(key)) throw unknownOption(part, key, known);
}

function readable(part: string, given: unknown): Record<string, unknown> {
  if (given === undefined || given === null) return {};
  return readOptions(part, given as Record<string, unknown>);
}

/** A copy of the options of a part, read once; its own keys are checked by the part. @throws INVALID_OPTION */
export function readOptions<T extends object>(part: string, given: T): T {
  checkIsRecord(part, given);
  return reading(`\`${part}\``, () => ({ ...given }));
}

/** Refuses an address where options of a backend are expected, without showing it: there may be a password in it. */
export function notAnAddress(part: string): CoordinationError {
  return new CoordinationError(
    'INVALID_OPTION',
    `Expected the options of \`${part}\` to be an object, got a string`,
    { hint: 'Pass an address as { url }.' },
  );
}

function checkIsRecord(part: string, given: unknown): void {
  if (typeof given === 'object' && given !== null && !reading(`\`${part}\``, () => Array.isArray(given)))
    return;
  throw new CoordinationError(
    'INVALID_OPTION',
    `Expected the options of \`${part}\` to be an object, got ${describe(given)}`,
  );
}

function unknownOption(
  part: string,
  key: string,
  known: readonly string[],
  place?: string,
): CoordinationError {
  const nearest = place === undefined ? nearestName(key, known) : undefined;
  const listed =
    nearest === undefined ? `Known are: ${known.slice(0, 30).join(', ')}.` : `Did you mean \`${nearest}\`?`;
  return new CoordinationError('INVALID_OPTION', `Unknown option ${JSON.stringify(key)} of \`${part}\``, {
    hint: place ?? listed,
  });
}
