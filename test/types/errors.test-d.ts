import { assertType, describe, expectTypeOf, test } from 'vitest';
import {
  type CircuitOpenError,
  type CoordinationError,
  type DeadlockError,
  type DependencyCycleError,
  type ErrorCode,
  type ErrorOf,
  type ErrorsByCode,
  isCoordinationError,
  type LockTimeoutError,
  type TaskFailedError,
} from '../../src/index.ts';

declare const error: unknown;

describe('isCoordinationError narrows', () => {
  test('to the class of a code that has one', () => {
    if (isCoordinationError(error, 'DEADLOCK')) {
      expectTypeOf(error).toEqualTypeOf<DeadlockError>();
      expectTypeOf(error.cycle[0]?.waiter).toEqualTypeOf<string | undefined>();
      expectTypeOf(error.survivor).toEqualTypeOf<string>();
    }
    if (isCoordinationError(error, 'TASK_FAILED')) {
      expectTypeOf(error).toEqualTypeOf<TaskFailedError>();
      expectTypeOf(error.attempts).toEqualTypeOf<number>();
    }
    if (isCoordinationError(error, 'DEPENDENCY_CYCLE')) {
      expectTypeOf(error).toEqualTypeOf<DependencyCycleError>();
      expectTypeOf(error.path).toEqualTypeOf<readonly string[]>();
    }
    if (isCoordinationError(error, 'CIRCUIT_OPEN')) {
      expectTypeOf(error).toEqualTypeOf<CircuitOpenError>();
      expectTypeOf(error.retryAfterMs).toEqualTypeOf<number>();
    }
    if (isCoordinationError(error, 'LOCK_TIMEOUT')) {
      expectTypeOf(error).toEqualTypeOf<LockTimeoutError>();
      expectTypeOf(error.holders).toEqualTypeOf<readonly string[]>();
    }
  });

  test('to the code, where there is no class', () => {
    if (!isCoordinationError(error, 'STOPPED')) return;
    expectTypeOf(error).toEqualTypeOf<CoordinationError & { readonly code: 'STOPPED' }>();
    // @ts-expect-error it has no cycle
    assertType(error.cycle);
  });

  test('step by step, when no code is asked for', () => {
    if (!isCoordinationError(error)) return;
    expectTypeOf(error.code).toEqualTypeOf<ErrorCode>();
    assertType<CoordinationError>(error);
    // @ts-expect-error not every error has a cycle
    assertType(error.cycle);
    switch (error.code) {
      case 'DEADLOCK':
        expectTypeOf(error).toEqualTypeOf<DeadlockError>();
        break;
      case 'TIMEOUT':
        expectTypeOf(error.code).toEqualTypeOf<'TIMEOUT'>();
        break;
      default:
        expectTypeOf(error.code).not.toEqualTypeOf<'DEADLOCK'>();
    }
  });

  test('from an error whose class is known already', () => {
    const known = {} as Error;
    if (isCoordinationError(known, 'DEADLOCK'))
      expectTypeOf(known.cycle).toEqualTypeOf<DeadlockError['cycle']>();
    else expectTypeOf(known).toEqualTypeOf<Error>();
    const either = {} as 'DEADLOCK' | 'STOPPED';
    if (isCoordinationError(error, either)) expectTypeOf(error.code).toEqualTypeOf<'DEADLOCK' | 'STOPPED'>();
  });

  test('and takes codes only', () => {
    // @ts-expect-error DEADLOCK, misspelt
    assertType(isCoordinationError(error, 'DEADLOCKED'));
  });
});

test('the table of classes says what each code narrows to', () => {
  expectTypeOf<ErrorsByCode['DEADLOCK']>().toEqualTypeOf<DeadlockError>();
  expectTypeOf<ErrorOf<'TASK_FAILED'>>().toEqualTypeOf<TaskFailedError>();
  // Each row's class has the code of its row.
  expectTypeOf<ErrorsByCode[keyof ErrorsByCode]['code']>().toEqualTypeOf<keyof ErrorsByCode>();
});
