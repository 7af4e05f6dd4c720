import { checkId, checkNumber, checkPriority, checkSignal, invalid } from '../core/check.ts';
import { describe } from '../core/errors.ts';
import type { AcquireOptions } from '../core/lock-types.ts';
import { checkOptions } from '../core/options.ts';

export const MIN_LEASE_MS = 10;
const MAX_LEASE_MS = 2 ** 40;

export interface CheckedOptions {
  readonly owner: string | undefined;
  readonly agent: string | undefined;
  readonly task: string | undefined;
  readonly priority: number;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  readonly leaseMs: number | undefined;
  readonly renew: boolean;
  readonly reentrant: boolean;
}

const KNOWN = [
  'owner',
  'agent',
  'task',
  'priority',
  'timeoutMs',
  'signal',
  'leaseMs',
  'renew',
  'reentrant',
] as const;

/** @throws INVALID_ARGUMENT, INVALID_OPTION */
export function checkAcquireOptions(options: AcquireOptions | undefined, timeoutMs: number): CheckedOptions {
  if (options === undefined) return defaults(timeoutMs);
  const given = checkOptions('acquire', options, KNOWN);
  return {
    owner: optionalId(given.owner, 'owner'),
    agent: optionalId(given.agent, 'agent'),
    task: optionalId(given.task, 'task'),
    priority: checkPriority(given.priority),
    timeoutMs: checkTimeout(given.timeoutMs, timeoutMs),
    signal: checkSignal(given.signal, 'signal'),
    leaseMs:
      given.leaseMs === undefined
        ? undefined
        : checkNumber(given.leaseMs, 'leaseMs', MIN_LEASE_MS, MAX_LEASE_MS),
    renew: flag(given.renew, 'renew', true),
    reentrant: flag(given.reentrant, 'reentrant', false),
  };
}

/** ms, or `Infinity` for ever. */
export function checkTimeout(value: unknown, fallback: number): number {
  if (value === undefined) return fallback;
  return value === Number.POSITIVE_INFINITY ? value : checkNumber(value, 'timeoutMs', 0);
}

function defaults(timeoutMs: number): CheckedOptions {
  return {
    owner: undefined,
    agent: undefined,
    task: undefined,
    priority: 2,
    timeoutMs,
    signal: undefined,
    leaseMs: undefined,
    renew: true,
    reentrant: false,
  };
}

function optionalId(value: unknown, what: string): string | undefined {
  return value === undefined ? undefined : checkId(value, what);
}

function flag(value: unknown, what: string, fallback: boolean): boolean {
  if (value === undefined) return fallback;
  if (typeof value !== 'boolean')
    throw invalid(`Expected ${what} to be true or false, got ${describe(value)}`);
  return value;
}
