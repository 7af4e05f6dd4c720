import type { Question } from '../harness/question.ts';
import { breaker } from './breaker.ts';
import { dag } from './dag.ts';
import { deadlockCheck } from './deadlock-check.ts';
import { decision } from './decision.ts';
import { dependencies } from './dependencies.ts';
import { emit } from './emit.ts';
import { endurance } from './endurance.ts';
import { locks } from './locks.ts';
import { memory } from './memory.ts';
import { messages } from './messages.ts';
import { noOpTasks } from './no-op-tasks.ts';
import { priorities } from './priorities.ts';
import { submitOne } from './submit-one.ts';
import { thePromise } from './the-promise.ts';
import { timerLateness } from './timer-lateness.ts';

export const questions: readonly Question[] = [
  emit,
  breaker,
  locks,
  deadlockCheck,
  messages,
  dag,
  submitOne,
  noOpTasks,
  priorities,
  dependencies,
  decision,
  timerLateness,
  memory,
  endurance,
  thePromise,
];
