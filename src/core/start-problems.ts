import { reading } from './check.ts';
import { CoordinationError, describe } from './errors.ts';

/** What the starts of PostgreSQL and Redis may find; `docs/reference/backends.md` has a line for each. */
export const START_PROBLEMS = [
  'AOF_OFF',
  'AOF_UNREPAIRED',
  'AOF_UNSYNCED',
  'CLOCK_SKEW',
  'CONTRACT_PENDING',
  'DEFAULT_ISOLATION',
  'ENCODING',
  'EVICTION',
  'FSYNC_OFF',
  'REPLICA',
  'SCHEMA_NEWER',
  'SERVER_TOO_OLD',
  'SYNCHRONOUS_COMMIT_OFF',
  'UNCHECKED',
] as const;

export type StartProblem = (typeof START_PROBLEMS)[number];

/**
 * The codes of `allow`, which may be those of any backend: one program may start on several.
 * @param own codes of a backend that isn't of this library
 * @throws INVALID_OPTION with the known ones
 */
export function checkAllow(given: unknown, own: readonly string[] = []): readonly string[] {
  if (given === undefined) return [];
  const codes = reading('`allow`', () => (Array.isArray(given) ? Array.from(given as unknown[]) : undefined));
  if (codes === undefined)
    throw new CoordinationError(
      'INVALID_OPTION',
      `Expected \`allow\` to be an array of codes, got ${describe(given)}`,
    );
  const known: readonly unknown[] = [...START_PROBLEMS, ...own];
  const others = codes.filter((code) => !known.includes(code));
  if (others.length === 0) return codes as string[];
  throw new CoordinationError(
    'INVALID_OPTION',
    `No start reports what \`allow\` names: ${describe(others[0])}`,
    { hint: `Known are: ${known.join(', ')}.` },
  );
}
