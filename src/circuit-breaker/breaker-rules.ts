import { CoordinationError, describe } from '../core/errors.ts';
import { checkOption, refuseUnknown, resolveOptions } from '../core/options.ts';
import type { CircuitRules } from './circuit.ts';
import type { Classify } from './classify.ts';
import { CallTally, type Tally, TimeTally } from './tally.ts';
import type { RatioRule } from './trip.ts';

/** Options of a breaker. Durations are ms. */
export interface CircuitBreakerOptions {
  /** Consecutive failures that open the circuit. With a `window`, counted only when given. @default 5 */
  readonly failureThreshold?: number;
  /** Successful probes that close it. @default 2 */
  readonly successThreshold?: number;
  /** ms from open to half-open. @default 60_000 */
  readonly timeout?: number;
  /** Probes at the same time, not in total: 2 with `successThreshold` 3 can close. @default 1 */
  readonly halfOpenLimit?: number;
  /** A probe that has not settled after so many ms gives its place back, and its signal aborts. @default `timeout` */
  readonly probeTimeoutMs?: number;
  /** Opens at this share of failures among the last `calls` calls, or the calls of the last `windowMs`. */
  readonly window?: FailureWindow;
  /** Opens at this share of slow calls, in the same window or the last 100 calls. A slow probe counts as failed. */
  readonly slow?: SlowRule;
  /** What counts as a failure. @default every rejection */
  readonly classify?: Classify;
  /** Whether all processes of the mesh share one state over the backend; a breaker on its own has none. @default false */
  readonly shared?: boolean;
}

export type FailureWindow = {
  /** Above 0, at most 1. */
  readonly failureRatio: number;
  /** Calls to be counted before the ratio means anything. @default 10, or `calls` if that is less */
  readonly minCalls?: number;
} & ({ readonly calls: number } | { readonly windowMs: number });

export interface SlowRule {
  /** A call that takes longer than so many ms is slow. */
  readonly overMs: number;
  /** Above 0, at most 1. */
  readonly ratio: number;
  /** @default as for the window */
  readonly minCalls?: number;
}

/** The checked options of one breaker. */
export interface BreakerRules extends CircuitRules {
  readonly failing: RatioRule | undefined;
  readonly slow: (RatioRule & { readonly overMs: number }) | undefined;
  readonly classify: Classify | undefined;
  readonly shared: boolean;
  /** Only when a ratio is to be measured. */
  readonly createTally: (() => Tally) | undefined;
}

const YEAR_MS = 365 * 86_400_000;
const DEFAULT_CALLS = 100;
const MAX_CALLS = 1_000_000;

/**
 * Checks the options. Each configuration that is accepted can close again: no threshold or time is unlimited, no slow call is the rule (B3).
 * @throws INVALID_OPTION
 */
export function breakerRules(given?: CircuitBreakerOptions | null): BreakerRules {
  const options = resolveOptions('breakers', given ?? undefined);
  if (options.classify !== undefined && typeof options.classify !== 'function') {
    throw refused('classify', 'a function', options.classify);
  }
  const window = options.window === undefined ? undefined : failureWindow(options.window);
  const size = window ?? { calls: DEFAULT_CALLS };
  const slow = options.slow === undefined ? undefined : slowRule(options.slow, size);
  const consecutive = window === undefined || given?.failureThreshold !== undefined;
  return {
    failureThreshold: consecutive ? options.failureThreshold : Number.POSITIVE_INFINITY,
    successThreshold: options.successThreshold,
    timeout: options.timeout,
    halfOpenLimit: options.halfOpenLimit,
    probeTimeoutMs: options.probeTimeoutMs ?? options.timeout,
    failing: window,
    slow,
    classify: options.classify as Classify | undefined,
    shared: options.shared,
    createTally: window === undefined && slow === undefined ? undefined : () => createTally(size),
  };
}

interface WindowSize {
  readonly calls?: number | undefined;
  readonly windowMs?: number | undefined;
}

function createTally(size: WindowSize): Tally {
  return size.windowMs === undefined
    ? new CallTally(size.calls ?? DEFAULT_CALLS)
    : new TimeTally(size.windowMs);
}

function failureWindow(given: unknown): RatioRule & WindowSize {
  const window = nested('window', given, ['calls', 'windowMs', 'failureRatio', 'minCalls']);
  if ((window['calls'] === undefined) === (window['windowMs'] === undefined)) {
    throw new CoordinationError(
      'INVALID_OPTION',
      'Expected `breakers.window` to have either `calls` or `windowMs`',
    );
  }
  const size: WindowSize =
    window['windowMs'] === undefined
      ? { calls: count('window.calls', window['calls'], MAX_CALLS) }
      : { windowMs: ms('window.windowMs', window['windowMs']) };
  return {
    ...size,
    ratio: ratio('window.failureRatio', window['failureRatio']),
    minCalls: minCalls('window.minCalls', window['minCalls'], size),
  };
}

function slowRule(given: unknown, size: WindowSize): RatioRule & { readonly overMs: number } {
  const slow = nested('slow', given, ['overMs', 'ratio', 'minCalls']);
  return {
    overMs: ms('slow.overMs', slow['overMs']),
    ratio: ratio('slow.ratio', slow['ratio']),
    minCalls: minCalls('slow.minCalls', slow['minCalls'], size),
  };
}

/** More calls than the window holds would never be reached. */
function minCalls(name: string, given: unknown, size: WindowSize): number {
  const most = size.calls ?? MAX_CALLS;
  return given === undefined ? Math.min(10, most) : count(name, given, most);
}

function nested(name: string, given: unknown, known: readonly string[]): Readonly<Record<string, unknown>> {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    throw refused(name, 'an object', given);
  }
  refuseUnknown(`breakers.${name}`, given, known);
  return given as Record<string, unknown>;
}

function count(name: string, value: unknown, max: number): number {
  return checkOption(
    `breakers.${name}`,
    { kind: 'count', default: undefined, min: 1, max, doc: '' },
    value,
  ) as number;
}

function ms(name: string, value: unknown): number {
  return checkOption(
    `breakers.${name}`,
    { kind: 'ms', default: undefined, min: 1, max: YEAR_MS, doc: '' },
    value,
  ) as number;
}

function ratio(name: string, value: unknown): number {
  if (typeof value !== 'number' || !(value > 0 && value <= 1)) {
    throw refused(name, 'a number above 0 and at most 1', value);
  }
  return value;
}

function refused(name: string, expected: string, value: unknown): CoordinationError {
  return new CoordinationError(
    'INVALID_OPTION',
    `Expected \`breakers.${name}\` to be ${expected}, got ${describe(value)}`,
  );
}
