import type { Transition } from '../../../src/core/ports/tasks.ts';
import { type Evidence, found, type Look, type Problem, type TaskRow } from './evidence.ts';
import { byTask } from './transitions.ts';

/** T1, T9: the library tells of each task what the store's own rows say, and counts them as they are. */
export function tasksAsStored(evidence: Pick<Evidence, 'reading' | 'rests' | 'tasks'>): Look {
  const { reading, tasks } = evidence;
  const problems: Problem[] = [];
  for (const id of new Set([...tasks.keys(), ...reading.tasks.keys()])) {
    const [told, stored] = [shortOf(tasks.get(id)), shortOf(reading.tasks.get(id))];
    if (told !== stored) problems.push(found('T1', `the library says ${told}, the store ${stored}`, id));
  }
  const counted = evidence.rests.at(-1)?.sample.states ?? {};
  const rows = Map.groupBy(reading.tasks.values(), ({ state }) => state);
  for (const state of new Set([...Object.keys(counted), ...rows.keys()])) {
    const [told, stored] = [counted[state] ?? 0, rows.get(state as TaskRow['state'])?.length ?? 0];
    if (told !== stored) problems.push(found('T9', `${told} counted as ${state}, ${stored} stored`));
  }
  return { looked: reading.tasks.size, problems };
}

function shortOf(task: TaskRow | undefined): string {
  return task === undefined
    ? 'nothing of it'
    : `${task.state}, ${task.attempt} attempts, ${task.crashes} crashes`;
}

/** The library tells of each task the transitions that the store wrote down, in their order. */
export function historyAsStored(evidence: Pick<Evidence, 'history' | 'reading'>): Look {
  const [told, stored] = [byTask(evidence.history), byTask(evidence.reading.history)];
  const problems: Problem[] = [];
  for (const id of new Set([...told.keys(), ...stored.keys()])) {
    const [a, b] = [linesOf(told.get(id)), linesOf(stored.get(id))];
    const i = b.findIndex((line, place) => line !== a[place]);
    if (a.length !== b.length || i !== -1)
      problems.push(
        found('history', `the library has ${a[i] ?? a.length}, the store ${b[i] ?? b.length}`, id),
      );
  }
  return { looked: evidence.reading.history.length, problems };
}

function linesOf(steps: readonly Transition[] = []): string[] {
  return steps.map(({ at, from, to, attempt, token, session, reason }) =>
    JSON.stringify([at, from, to, attempt, token, session, reason]),
  );
}
