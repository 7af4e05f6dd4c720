import assert from 'node:assert/strict';
import type { SuiteOptions } from './suite.ts';
import { cancelTests } from './tasks/cancelling.ts';
import { claimTests } from './tasks/claiming.ts';
import { dependencyTests } from './tasks/dependencies.ts';
import { enqueueTests } from './tasks/enqueueing.ts';
import { taskTest } from './tasks/harness.ts';
import { operationTests } from './tasks/operations.ts';
import { queueTests } from './tasks/queues.ts';
import { readTests } from './tasks/reading.ts';
import { reviseTests } from './tasks/revising.ts';
import { settleTests } from './tasks/settling.ts';
import { takeoverTests } from './tasks/taking-over.ts';

/**
 * What every {@link TaskStore} has to do: registers its tests with any test runner. Each runs on a backend of its own, and whatever it
 * did, the counts have to add up at its end (T9).
 */
export function taskSuite(options: SuiteOptions): void {
  const test = taskTest(options);
  test('capabilities are as expected', async ({ env }) => {
    for (const [name, value] of Object.entries(options.expected)) {
      assert.equal(env.backend.capabilities[name as keyof typeof options.expected], value, name);
    }
  });
  enqueueTests(test);
  operationTests(test);
  claimTests(test);
  settleTests(test);
  dependencyTests(test);
  takeoverTests(test);
  cancelTests(test);
  reviseTests(test);
  queueTests(test);
  readTests(test);
}
