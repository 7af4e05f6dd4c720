import { test } from 'vitest';
import { messageSuite } from '../../src/testing/suites/messages.ts';
import { MEMORY, memoryEnvironment } from '../support/memory-environment.ts';

messageSuite({ test, create: () => memoryEnvironment(), expected: MEMORY });
