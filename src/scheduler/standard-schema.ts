import { invalid, reading } from '../core/check.ts';
import { CoordinationError, describe } from '../core/errors.ts';

/**
 * The part of Standard Schema v1 (https://standardschema.dev) that is needed to check a value: zod, valibot and arktype schemas fit.
 */
export interface StandardSchema<Input = unknown, Output = Input> {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>;
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
  };
}

type SchemaResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly Issue[] };

interface Issue {
  readonly message: string;
  readonly path?: readonly unknown[] | undefined;
}

/** @throws INVALID_ARGUMENT for anything that can't check a value */
export function checkSchema(schema: unknown, what: string): void {
  const isSchema = reading(what, () => {
    const { validate: check } = (schema as Partial<StandardSchema> | null)?.['~standard'] ?? {};
    return typeof check === 'function';
  });
  if (isSchema) return;
  throw invalid(
    `Expected ${what} to be a Standard Schema, got ${describe(schema)}`,
    'Schemas of zod, valibot and arktype are.',
  );
}

/**
 * Checks a value and returns it as the schema transformed it.
 * @throws INVALID_ARGUMENT with the first five issues, or with what the schema threw as its cause
 */
export async function validate<O>(
  schema: StandardSchema<unknown, O>,
  value: unknown,
  what: string,
): Promise<O> {
  const outcome = await outcomeOf(schema, value, what);
  if ('value' in outcome) return outcome.value;
  throw invalid(`${what} does not fit its schema: ${outcome.issues.join('; ')}`);
}

/** What the schema answered, read once. */
async function outcomeOf<O>(
  schema: StandardSchema<unknown, O>,
  given: unknown,
  what: string,
): Promise<{ readonly value: O } | { readonly issues: readonly string[] }> {
  try {
    const answer = await schema['~standard'].validate(given);
    if (answer.issues === undefined) return { value: answer.value };
    return { issues: answer.issues.slice(0, 5).map((issue) => textOf(issue)) };
  } catch (error) {
    throw new CoordinationError('INVALID_ARGUMENT', `${what} could not be checked: its schema failed`, {
      cause: error,
    });
  }
}

function textOf({ message, path = [] }: Issue): string {
  const place = path.map((part) => String(keyOf(part))).join('.');
  return place === '' ? message : `${place}: ${message}`;
}

function keyOf(part: unknown): unknown {
  return typeof part === 'object' && part !== null && 'key' in part ? part.key : part;
}
