import { begunUnderClaims, crashesCounted, effectsOwned, takenOverFromTheDead } from './claims.ts';
import { type Evidence, found, type Look, type Problem } from './evidence.ts';
import { lockProblems, staleWrites, writesGranted } from './locks.ts';
import { messageProblems, receiptsCaused } from './messages.ts';
import { historyAsStored, tasksAsStored } from './reading.ts';
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
  ordersNotStarved,
  outcomesTrue,
  parentsFirst,
  recoveries,
  slotsKept,
  storedOnce,
  takenOverInTime,
  transactionsWhole,
} from './tasks.ts';
import { wholeHistory } from './transitions.ts';

/** Checks that say how many items they looked at. `undefined`: the store has nothing of the sort. */
const COUNTED: Readonly<Record<string, (evidence: Evidence) => Look | undefined>> = {
  'handlers begun under claims': begunUnderClaims,
  'claims taken over': takenOverFromTheDead,
  'crashes counted': crashesCounted,
  'effects of tasks': effectsOwned,
  'writes under locks': writesGranted,
  'messages received': receiptsCaused,
  'tasks claimed in turn': notStarved,
  'of transactions, claimed in turn': ordersNotStarved,
  'tasks read past the library': tasksAsStored,
  'transitions read past the library': historyAsStored,
};

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
    ...Object.values(COUNTED).flatMap((check) => check(evidence)?.problems ?? []),
  ];
}

/** How many items were looked at, by name. */
export function looks(evidence: Evidence): [name: string, looked: number][] {
  const counted = Object.entries(COUNTED).flatMap(([name, check]): [string, number][] => {
    const look = check(evidence);
    return look === undefined ? [] : [[name, look.looked]];
  });
  return [
    ...counted,
    ['tasks of killed workers', recoveries(evidence).length],
    ['samples of the store', evidence.samples.length],
    ['times of rest', evidence.rests.length],
  ];
}

/** A check that found nothing to look at shows nothing. */
export function unlooked(counts: readonly (readonly [name: string, looked: number])[]): Problem[] {
  return counts.flatMap(([name, looked]) =>
    looked > 0 ? [] : [found('amounts', `nothing was looked at: ${name}`)],
  );
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
