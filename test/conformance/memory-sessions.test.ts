import { test } from 'vitest';
import { sessionSuite } from '../../src/testing/suites/sessions.ts';
import { MEMORY, memoryEnvironment } from '../support/memory-environment.ts';

sessionSuite({ test, create: () => memoryEnvironment(), expected: MEMORY });
