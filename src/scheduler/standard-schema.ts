import { CoordinationError } from '../core/errors.ts';

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
  | {
      readonly issues: readonly {
        readonly message: string;
        readonly path?: readonly unknown[] | undefined;
      }[];
    };

/** Checks a value and returns it as the schema transformed it. @throws INVALID_ARGUMENT with the first five issues */
export async function validate<O>(
  schema: StandardSchema<unknown, O>,
  value: unknown,
  what: string,
): Promise<O> {
  const outcome = await schema['~standard'].validate(value);
  if (outcome.issues === undefined) return outcome.value;
  const issues = outcome.issues.slice(0, 5).map(({ message, path = [] }) => {
    const place = path.map((part) => String(keyOf(part))).join('.');
    return place === '' ? message : `${place}: ${message}`;
  });
  throw new CoordinationError('INVALID_ARGUMENT', `${what} does not fit its schema: ${issues.join('; ')}`);
}

function keyOf(part: unknown): unknown {
  return typeof part === 'object' && part !== null && 'key' in part ? part.key : part;
}
