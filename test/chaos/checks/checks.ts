import type { Evidence, Problem } from './evidence.ts';
import { lockProblems, staleWrites } from './locks.ts';
import { messageProblems } from './messages.ts';
import {
  acknowledgedAreStored,
  allEnded,
  answersKnown,
  attemptsCounted,
  begunOnce,
  conserved,
  effectsInOrder,
  effectsOnce,
  keysNameOneTask,
  notEarly,
  notStarved,
  outcomesTrue,
  parentsFirst,
  slotsKept,
  storedOnce,
  takenOverInTime,
  transactionsWhole,
} from './tasks.ts';
import { wholeHistory } from './transitions.ts';

/** Everything that was promised, looked at while nothing goes on. */
export function checkAll(evidence: Evidence): Problem[] {
  return [
    ...acknowledgedAreStored(evidence),
    ...storedOnce(evidence),
    ...allEnded(evidence),
    ...keysNameOneTask(evidence),
    ...begunOnce(evidence),
    ...(evidence.orders === undefined ? effectsInOrder(evidence) : effectsOnce(evidence)),
    ...attemptsCounted(evidence),
    ...takenOverInTime(evidence),
    ...notStarved(evidence),
    ...notEarly(evidence),
    ...parentsFirst(evidence),
    ...conserved(evidence),
    ...slotsKept(evidence),
    ...transactionsWhole(evidence),
    ...answersKnown(evidence),
    ...outcomesTrue(evidence),
    ...wholeHistory(evidence),
    ...lockProblems(evidence),
    ...messageProblems(evidence),
  ];
}

/** What holds even of a store that lost its last second: T3, T4 and T9 on what survived, and no stale write. */
export function checkSurvivors(evidence: Evidence): Problem[] {
  return [
    ...storedOnce(evidence),
    ...begunOnce(evidence),
    ...conserved({ ...evidence, entries: [] }),
    ...wholeHistory(evidence),
    ...staleWrites(evidence),
  ];
}
