import { taskSuite } from '../../src/testing/suites/tasks.ts';
import { onPostgres } from '../support/postgres-suites.ts';

onPostgres('tasks', taskSuite);
