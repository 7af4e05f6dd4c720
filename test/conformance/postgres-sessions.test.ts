import { sessionSuite } from '../../src/testing/suites/sessions.ts';
import { onPostgres } from '../support/postgres-suites.ts';

onPostgres('sessions', sessionSuite);
