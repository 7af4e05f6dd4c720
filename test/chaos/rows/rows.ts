import type { TaskState, Transition } from '../../../src/core/ports/tasks.ts';
import type { Held, Reading, RestRows } from '../checks/evidence.ts';

/** What the store's own rows say, read by plain statements and commands past the library. */
export interface Rows {
  held(): Promise<Held[]>;
  /** Locks of sessions that live, and rows of tasks. */
  rest(): Promise<RestRows>;
  read(): Promise<Reading>;
  close(): Promise<void>;
}

/** A transition as the store wrote it down. */
export function transition(step: {
  readonly task: string;
  readonly at: number;
  readonly from: TaskState | 'new';
  readonly to: TaskState;
  readonly attempt: number;
  readonly token: number;
  readonly session: number | undefined;
  readonly reason: string | undefined;
}): Transition {
  const { session, reason, ...always } = step;
  return {
    ...always,
    ...(session === undefined ? {} : { session }),
    ...(reason === undefined ? {} : { reason }),
  } as Transition;
}
