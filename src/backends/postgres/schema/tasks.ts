import { TASK_CANCEL } from './tasks/cancel.ts';
import { TASK_CASCADE } from './tasks/cascade.ts';
import { TASK_CHOOSE } from './tasks/choose.ts';
import { TASK_CLAIM } from './tasks/claim.ts';
import { TASK_DEPENDENCIES } from './tasks/dependencies.ts';
import { TASK_ENQUEUE } from './tasks/enqueue.ts';
import { TASK_ENQUEUE_ONE } from './tasks/enqueue-one.ts';
import { TASK_GIVE_BACK } from './tasks/give-back.ts';
import { TASK_HOOKS } from './tasks/hooks.ts';
import { TASK_JOURNAL } from './tasks/journal.ts';
import { TASK_LANES } from './tasks/lanes.ts';
import { TASK_READ } from './tasks/read.ts';
import { TASK_REVISE } from './tasks/revise.ts';
import { TASK_SETTLE } from './tasks/settle.ts';
import { TASK_SWEEP } from './tasks/sweep.ts';
import { TASK_TABLES } from './tasks/tables.ts';
import { TASK_TAKEOVER } from './tasks/takeover.ts';

/** Tasks: tables first, then functions in the order in which their types are needed. */
export const TASKS_SCHEMA: string = [
  TASK_TABLES,
  TASK_LANES,
  TASK_JOURNAL,
  TASK_CASCADE,
  TASK_DEPENDENCIES,
  TASK_ENQUEUE,
  TASK_ENQUEUE_ONE,
  TASK_CHOOSE,
  TASK_CLAIM,
  TASK_GIVE_BACK,
  TASK_SETTLE,
  TASK_TAKEOVER,
  TASK_CANCEL,
  TASK_SWEEP,
  TASK_READ,
  TASK_REVISE,
  TASK_HOOKS,
].join('\n');
