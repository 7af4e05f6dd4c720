import { toStoredError } from '../errors.ts';

/**
 * An error as a plain record: name, message, code, hint, stack, cause. JSON knows nothing of an error but its enumerable fields, which
 * most have none of. Causes end at depth 5, cyclic ones too. Never throws.
 */
export function printableError(error: Error): Readonly<Record<string, unknown>> {
  const { name, message, code, stack, cause } = toStoredError(error);
  const hint = hintOf(error);
  return {
    name,
    message,
    ...(code === 'ERROR' ? {} : { code }),
    ...(hint === undefined ? {} : { hint }),
    ...(stack === undefined ? {} : { stack }),
    ...(cause === undefined ? {} : { cause: withoutPlainCodes(cause) }),
  };
}

/** `ERROR` and `THROWN` are what the store says of errors without a code. */
function withoutPlainCodes(error: ReturnType<typeof toStoredError>): Readonly<Record<string, unknown>> {
  const { code, cause, ...rest } = error;
  return {
    ...rest,
    ...(code === 'ERROR' || code === 'THROWN' ? {} : { code }),
    ...(cause === undefined ? {} : { cause: withoutPlainCodes(cause) }),
  };
}

function hintOf(error: Error): string | undefined {
  try {
    const { hint } = error as { readonly hint?: unknown };
    return typeof hint === 'string' ? hint : undefined;
  } catch {
    return undefined;
  }
}

/** For `JSON.stringify`: errors as records, and what JSON has no word for as text instead of an exception. */
export function printable(_key: string, value: unknown): unknown {
  if (value instanceof Error) return printableError(value);
  if (typeof value === 'bigint') return `${value}n`;
  if (value instanceof Map) return Object.fromEntries(value);
  if (value instanceof Set) return [...value];
  return value;
}
