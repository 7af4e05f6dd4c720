import { afterAll, expect, inject, test } from 'vitest';
import { lockSuite } from '../../src/testing/suites/locks.ts';
import { messageSuite } from '../../src/testing/suites/messages.ts';
import { sessionSuite } from '../../src/testing/suites/sessions.ts';
import { stateSuite } from '../../src/testing/suites/state.ts';
import type { SuiteEnvironment } from '../../src/testing/suites/suite.ts';
import { taskSuite } from '../../src/testing/suites/tasks.ts';
import { POSTGRES, postgresEnvironment } from '../support/postgres-environment.ts';
import { OtherProcess, throughTwoProcesses } from '../support/two-processes/two-processes.ts';

/** Every suite, with every second session in another process. */
const other = new OtherProcess();
afterAll(() => other[Symbol.asyncDispose]());

const create = (): Promise<SuiteEnvironment> =>
  postgresEnvironment((backend, schema) =>
    throughTwoProcesses(backend, other, { backend: 'postgres', url: inject('postgresUrl'), schema }),
  );

for (const suite of [sessionSuite, stateSuite, lockSuite, messageSuite, taskSuite])
  suite({ test, create, expected: POSTGRES });

test('the other process has made its part of the calls', () => {
  expect(other.calls).toBeGreaterThan(500);
});
