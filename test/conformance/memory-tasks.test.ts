import { test } from 'vitest';
import { taskSuite } from '../../src/testing/suites/tasks.ts';
import { MEMORY, memoryEnvironment } from '../support/memory-environment.ts';

taskSuite({ test, create: () => memoryEnvironment(), expected: MEMORY });
