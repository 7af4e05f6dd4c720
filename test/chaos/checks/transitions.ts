import type { TaskState, Transition } from '../../../src/core/ports/tasks.ts';
import type { Evidence, Problem } from './evidence.ts';

/** The state table of docs/design/ports.md, as it concerns what the history shows. */
const NEXT: Readonly<Record<Transition['from'], readonly TaskState[]>> = {
  new: ['waiting', 'scheduled', 'ready', 'cancelled', 'skipped'],
  waiting: ['scheduled', 'ready', 'cancelled', 'skipped', 'dead'],
  scheduled: ['ready', 'cancelled', 'dead'],
  ready: ['claimed', 'cancelled', 'dead'],
  claimed: ['claimed', 'completed', 'dead', 'cancelled', 'scheduled', 'ready'],
  completed: [],
  dead: ['scheduled', 'ready'],
  cancelled: ['scheduled', 'ready'],
  skipped: [],
};
export const ENDED: ReadonlySet<string> = new Set(['completed', 'dead', 'cancelled', 'skipped']);

/** The history of each task, in the store's order. */
export function byTask(history: readonly Transition[]): Map<string, Transition[]> {
  return Map.groupBy(history, ({ task }) => task);
}

/** Whether a history is one that the state table allows, from the beginning, without a gap. */
export function historyProblems(task: string, steps: readonly Transition[]): Problem[] {
  const problems: Problem[] = [];
  const problem = (what: string): void => void problems.push({ invariant: 'history', what, about: task });
  let last: Transition | undefined;
  let claimed = 0;
  for (const step of steps) {
    const { from, to, at, attempt } = step;
    if (from !== (last?.to ?? 'new')) problem(`${from} → ${to} follows ${last?.to ?? 'nothing'}`);
    if (!NEXT[from].includes(to)) problem(`${from} → ${to} is no step`);
    if (last !== undefined && at < last.at) problem(`${from} → ${to} is older than the step before`);
    if (to === 'claimed' && from === 'ready') {
      if (attempt > claimed + 1 || attempt < 1) problem(`attempt ${attempt} follows attempt ${claimed}`);
      if (step.session === undefined) problem('a claim without a session');
    }
    if (from === 'claimed' && to !== 'claimed' && last !== undefined && attempt > last.attempt)
      problem(`attempt ${attempt} ends what attempt ${last.attempt} began`);
    if (to === 'claimed' || from === 'claimed') claimed = attempt;
    last = step;
  }
  return problems;
}

/** T3: one live claim, tokens strictly increasing; T4: at most one end. */
export function claimProblems(task: string, steps: readonly Transition[]): Problem[] {
  const problems: Problem[] = [];
  let token = 0;
  let ends = 0;
  for (const step of steps) {
    if (step.to === 'claimed') {
      if (step.token <= token)
        problems.push({ invariant: 'T3', what: `claim token ${step.token} after ${token}`, about: task });
      token = Math.max(token, step.token);
    }
    const isOwnEnd = step.from === 'claimed' && step.to === 'completed';
    if (isOwnEnd && step.token < token)
      problems.push({
        invariant: 'T4',
        what: `completed by token ${step.token} after ${token}`,
        about: task,
      });
    if (ENDED.has(step.to)) ends += 1;
    if (ENDED.has(step.from)) ends -= 1;
    if (ends > 1) problems.push({ invariant: 'T4', what: `ended ${ends} times`, about: task });
  }
  return problems;
}

/** The whole history, and what the store says of each task now. */
export function wholeHistory(evidence: Pick<Evidence, 'history' | 'tasks'>): Problem[] {
  const groups = byTask(evidence.history);
  const problems = [...groups].flatMap(([task, steps]) => [
    ...historyProblems(task, steps),
    ...claimProblems(task, steps),
  ]);
  for (const [id, { state }] of evidence.tasks) {
    const last = groups.get(id)?.at(-1)?.to;
    if (last !== state)
      problems.push({
        invariant: 'history',
        what: `it is ${state}, its history ends ${last ?? 'nowhere'}`,
        about: id,
      });
  }
  return problems;
}
