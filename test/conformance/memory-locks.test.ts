import { describe, test } from 'vitest';
import { createRandom } from '../../src/core/runtime/random.ts';
import { lockSuite } from '../../src/testing/suites/locks.ts';
import { delayed, duplicating, hintless, replyCutting, retrying } from '../../src/testing/wrappers.ts';
import { MEMORY, memoryEnvironment } from '../support/memory-environment.ts';

describe('plain', () => {
  lockSuite({ test, create: () => memoryEnvironment(), expected: MEMORY });
});

describe('every call and answer travels for a random time', () => {
  let seed = 0;
  lockSuite({
    test,
    create: () =>
      memoryEnvironment((backend) => delayed(backend, { random: createRandom(`locks ${seed++}`), maxMs: 5 })),
    expected: MEMORY,
  });
});

describe('the first reply of each method is cut', () => {
  lockSuite({
    test,
    create: () => memoryEnvironment((backend) => retrying(replyCutting(backend))),
    expected: MEMORY,
  });
});

describe('every mutating call is carried out twice', () => {
  lockSuite({ test, create: () => memoryEnvironment(duplicating), expected: MEMORY });
});

describe('hints are dropped', () => {
  lockSuite({ test, create: () => memoryEnvironment(hintless), expected: MEMORY });
});
