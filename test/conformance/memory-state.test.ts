import { test } from 'vitest';
import { stateSuite } from '../../src/testing/suites/state.ts';
import { MEMORY, memoryEnvironment } from '../support/memory-environment.ts';

stateSuite({ test, create: () => memoryEnvironment(), expected: MEMORY });
