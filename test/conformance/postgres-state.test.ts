import { stateSuite } from '../../src/testing/suites/state.ts';
import { onPostgres } from '../support/postgres-suites.ts';

onPostgres('state', stateSuite);
