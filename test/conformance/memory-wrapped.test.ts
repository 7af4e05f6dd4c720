import { afterAll, describe, expect, test } from 'vitest';
import type { Backend } from '../../src/core/ports/backend.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { lockSuite } from '../../src/testing/suites/locks.ts';
import { messageSuite } from '../../src/testing/suites/messages.ts';
import { sessionSuite } from '../../src/testing/suites/sessions.ts';
import { stateSuite } from '../../src/testing/suites/state.ts';
import type { SuiteOptions } from '../../src/testing/suites/suite.ts';
import { taskSuite } from '../../src/testing/suites/tasks.ts';
import { delayed, duplicating, hintless, replyCutting, retrying } from '../../src/testing/wrappers.ts';
import { MEMORY, memoryEnvironment } from '../support/memory-environment.ts';

const SUITES: Readonly<Record<string, (options: SuiteOptions) => void>> = {
  sessions: sessionSuite,
  tasks: taskSuite,
  locks: lockSuite,
  messages: messageSuite,
  state: stateSuite,
};

/** Methods that change nothing: a lost answer to them needs no operation. */
const MUTATING: Readonly<Record<string, readonly string[]>> = {
  sessions: ['open', 'beat', 'close'],
  tasks: ['enqueue', 'claim', 'start', 'settle', 'takeover', 'cancel', 'revise', 'configure', 'sweep'],
  locks: ['request', 'keep', 'release', 'publish', 'abort'],
  messages: ['subscribe', 'publish', 'receive', 'settle', 'sweep', 'revise'],
  state: ['compareAndSet'],
};

function runSuites(wrap: (backend: Backend) => Backend): void {
  for (const suite of Object.values(SUITES)) {
    suite({ test, create: () => memoryEnvironment(wrap), expected: MEMORY });
  }
}

describe('plain', () => {
  runSuites((backend) => backend);
});

describe('every call and answer travels for a random time', () => {
  let seed = 0;
  runSuites((backend) => delayed(backend, { random: createRandom(`delayed ${seed++}`), maxMs: 5 }));
});

describe('the first reply of each method is cut', () => {
  const cuts = new Map<string, number>();
  runSuites((backend) => {
    const cutting = replyCutting(backend);
    const counted = retrying(cutting);
    return {
      ...counted,
      stop: async () => {
        await counted.stop();
        for (const [name, count] of cutting.cuts) cuts.set(name, (cuts.get(name) ?? 0) + count);
      },
    };
  });
  afterAll(() => {
    const uncut = Object.entries(MUTATING).flatMap(([port, methods]) =>
      methods.map((method) => `${port}.${method}`).filter((name) => !cuts.has(name)),
    );
    expect(uncut, 'mutating methods whose reply was never cut').toEqual([]);
  });
});

describe('G1: every mutating call is carried out twice', () => {
  runSuites(duplicating);
});

describe('G4: all hints are dropped', () => {
  runSuites(hintless);
});
