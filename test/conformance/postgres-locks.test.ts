import { lockSuite } from '../../src/testing/suites/locks.ts';
import { onPostgres } from '../support/postgres-suites.ts';

onPostgres('locks', lockSuite);
