import { openCaller, withEnvironment } from './caller.ts';
import { convertingTests } from './locks/converting.ts';
import { endingTests } from './locks/ending.ts';
import { grantingTests } from './locks/granting.ts';
import { LockWorld } from './locks/world.ts';
import type { SuiteOptions } from './suite.ts';

/** Conformance of `LockStore`: who may hold what together, in which order, how it ends, and the picture that deadlock detection needs. */
export function lockSuite(options: SuiteOptions): void {
  const test = (name: string, body: (world: LockWorld) => Promise<void>): void =>
    options.test(`locks: ${name}`, () =>
      withEnvironment(options.create, async (env) => {
        await body(new LockWorld(env, await openCaller(env)));
      }),
    );
  grantingTests(test);
  convertingTests(test);
  endingTests(test);
}
