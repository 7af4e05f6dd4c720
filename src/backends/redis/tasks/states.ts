import type { TaskState } from '../../../core/ports/tasks.ts';

/** States by the letter that records and answers have for them. `r` in a record may be claimed: who holds it says so. */
const STATES: ReadonlyMap<string, TaskState> = new Map([
  ['w', 'waiting'],
  ['s', 'scheduled'],
  ['r', 'ready'],
  ['c', 'claimed'],
  ['C', 'completed'],
  ['D', 'dead'],
  ['X', 'cancelled'],
  ['S', 'skipped'],
]);
const LETTERS: ReadonlyMap<TaskState, string> = new Map(
  [...STATES].map(([letter, state]) => [state, letter]),
);

/** @param letter of a newer build's state, it reads as `waiting`: somebody else deals with it */
export function stateOf(letter: string): TaskState {
  return STATES.get(letter) ?? 'waiting';
}

export function letterOf(state: TaskState): string {
  return LETTERS.get(state) as string;
}
