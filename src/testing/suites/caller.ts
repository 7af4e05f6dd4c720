import assert from 'node:assert/strict';
import { EMPTY_REPORT } from '../../core/empty-report.ts';
import { isCoordinationError } from '../../core/errors.ts';
import type { Sessions } from '../../core/ports/sessions.ts';
import type { Operation, SessionNumber } from '../../core/ports/words.ts';
import type { SuiteEnvironment } from './suite.ts';

export { EMPTY_REPORT as REPORT };

/** A process as a suite plays it: a session, and its operations by number. */
export interface Caller {
  readonly session: SessionNumber;
  /** The next operation. */
  op(): Operation;
}

/** Opens a session that lives as long as the test unless told otherwise. */
export async function openCaller(
  env: SuiteEnvironment,
  boot = 'boot',
  leaseMs = 24 * 3_600_000,
): Promise<Caller> {
  const { session } = await sessionsOf(env).open({ boot, leaseMs, writer: 1, report: EMPTY_REPORT });
  let sequence = 0;
  return { session, op: () => ({ session, sequence: ++sequence }) };
}

export function sessionsOf(env: SuiteEnvironment): Sessions {
  const { sessions } = env.backend;
  assert.ok(sessions !== undefined, 'the backend has sessions');
  return sessions;
}

/** Asserts that a call is refused with a code, whether it throws or rejects. */
export async function assertRefused(call: () => unknown, code: string): Promise<void> {
  try {
    await call();
  } catch (error) {
    assert.ok(isCoordinationError(error), `Expected a CoordinationError, got ${String(error)}`);
    assert.equal(error.code, code);
    return;
  }
  assert.fail(`Expected ${code}, but the call was answered`);
}

/** Runs one test on a backend of its own, and stops that whatever happens. */
export async function withEnvironment(
  create: () => Promise<SuiteEnvironment>,
  body: (env: SuiteEnvironment) => Promise<void>,
): Promise<void> {
  const env = await create();
  try {
    await body(env);
  } finally {
    await env.stop();
  }
}
