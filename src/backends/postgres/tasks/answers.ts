import type { Hint } from '../../../core/ports/backend.ts';
import type { Consequences, Ended, TaskState } from '../../../core/ports/tasks.ts';
import type { BackendTime } from '../../../core/ports/words.ts';
import { TASK_STATES } from '../../../core/task-states.ts';

/** An answer that has consequences, as the server spells it. */
export interface EffectsAnswer<Own> {
  readonly at: BackendTime;
  readonly readied: readonly { readonly task: string; readonly queue: string }[];
  readonly ended: readonly Ended[];
  readonly requested: readonly { readonly task: string; readonly reason: string }[];
  /** Queues in which a limit has room again. */
  readonly opened: readonly string[];
  readonly more: boolean;
  readonly own: Own;
}

export function consequencesOf({ at, readied, ended, more, opened }: EffectsAnswer<unknown>): Consequences {
  return { at, readied, ended, more, opened: opened.length > 0 };
}

/** What a call has set in motion that had nothing to do. */
export function nothingSince(at: BackendTime): Consequences {
  return { at, readied: [], ended: [], more: false, opened: false };
}

/** Whoever runs tasks of these queues may claim again. */
export function queueHints(queues: Iterable<string>): readonly Hint[] {
  return [...new Set(queues)].map((queue) => ({ about: 'tasks', queue }));
}

/** Queues in which something may be claimed that couldn't before. */
export function readiedQueues({ readied, opened }: EffectsAnswer<unknown>): readonly string[] {
  return readied.length === 0 ? opened : [...opened, ...readied.map(({ queue }) => queue)];
}

/** The state that a digit among an answer's codes stands for; `undefined`: it is no digit. */
export function stateOfCode(code: string): TaskState | undefined {
  return TASK_STATES[Number(code)];
}

/** The answer of a function that answers one text. */
export function parseAnswer(rows: readonly { readonly answer: string }[]): unknown {
  return JSON.parse((rows[0] as { readonly answer: string }).answer);
}
