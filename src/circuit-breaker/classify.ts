import type { Verdict } from './circuit.ts';

/** How a call ended, for a classifier. */
export interface CallOutcome {
  /** True when it resolved. */
  readonly ok: boolean;
  readonly value?: unknown;
  readonly error?: unknown;
  /** Whether the caller's own signal ended the call. */
  readonly aborted: boolean;
}

/**
 * Decides what counts. Called once for each call that was made; must be quick and synchronous. If it throws, the call counts as it
 * would without a classifier, and `strategy:failed` is emitted.
 */
export type Classify = (outcome: CallOutcome) => Verdict;

/** The rule without a classifier: every rejection is a failure. */
export const everyRejection: Classify = ({ ok }) => (ok ? 'success' : 'failure');

/** JSON-RPC 2.0 errors by which a server refuses what was asked: it was reached, and it works. */
const REFUSALS: ReadonlySet<number> = new Set([-32_600, -32_601, -32_602, -32_700]);

/**
 * For remote tools: a call that came back proves that the tool can be reached. HTTP 4xx and refusals of JSON-RPC count as success, 429
 * and `RATE_LIMITED` (a matter for a limiter, not for the breaker) and calls that their own caller aborted count as nothing; all other
 * rejections are failures. A result that reports a tool's own error (`{ isError: true }`) is a result.
 */
export const remoteToolErrors: Classify = ({ ok, error, aborted }) => {
  if (ok) return 'success';
  if (aborted) return 'ignore';
  const { code } = fields(error);
  if (code === 'RATE_LIMITED') return 'ignore';
  const status = httpStatus(error);
  if (status === 429) return 'ignore';
  if (status !== undefined && status >= 400 && status < 500) return 'success';
  return typeof code === 'number' && REFUSALS.has(code) ? 'success' : 'failure';
};

/** The HTTP status that the usual clients put on their errors. */
function httpStatus(error: unknown): number | undefined {
  const { status, statusCode, response } = fields(error);
  for (const found of [status, statusCode, fields(response)['status'], fields(response)['statusCode']]) {
    if (typeof found === 'number') return found;
  }
  return undefined;
}

function fields(value: unknown): { readonly [key: string]: unknown } {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}
