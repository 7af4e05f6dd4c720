/** What `agentmesh/testing` exports, listed by hand. */

export { createTestClock, type TestClock } from './test-clock.ts';
export { createTestRuntime, type TestRuntime } from './test-runtime.ts';
export {
  delayed,
  type DelayOptions,
  duplicating,
  hintless,
  type ReplyCutting,
  replyCutting,
  retrying,
} from './wrappers.ts';
export type { SuiteEnvironment, SuiteOptions } from './suites/suite.ts';
export { lockSuite } from './suites/locks.ts';
export { messageSuite } from './suites/messages.ts';
export { sessionSuite } from './suites/sessions.ts';
export { stateSuite } from './suites/state.ts';
export { strategySuite, type StrategySuiteOptions } from './suites/strategy.ts';
export { taskSuite } from './suites/tasks.ts';
