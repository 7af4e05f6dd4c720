import type { TaskKind } from '../journal.ts';
import { runsOf } from './claims.ts';
import {
  deeds,
  type Evidence,
  type Fault,
  found,
  type Look,
  MAY_FAIL,
  type Problem,
  type StoredTask,
} from './evidence.ts';
import { clockOffsetMs } from './sessions.ts';
import { byTask, ENDED } from './transitions.ts';

/** Timers may fire a little early, and a note is written a little late, ms. */
const SLACK_MS = 20;
/** Ageing of the queue, µs for one point of priority. */
const AGE_STEP_US = 10_000_000;
/** Claims of several processes at one moment have no order, µs. */
const AT_ONCE_US = 1_000_000;

/** What may become of a call while a store, a connection or a process is taken away. */
export const EXCUSED: ReadonlySet<string> = new Set([
  'BACKEND_UNAVAILABLE',
  'OUTCOME_UNKNOWN',
  'SESSION_EXPIRED',
  'STOPPED',
  // Of the chaos processes' own connections.
  'LEDGER',
]);

/** T1: what was acknowledged is there. */
export function acknowledgedAreStored(evidence: Evidence): Problem[] {
  return lostTasks(evidence).map((task) => found('T1', 'it was acknowledged and is not there', task));
}

export function lostTasks(evidence: Pick<Evidence, 'entries' | 'tasks'>): string[] {
  const acknowledged = new Set(deeds(evidence, 'submitted').map(({ task }) => task));
  return [...acknowledged].filter((task) => !evidence.tasks.has(task));
}

/** G1: one submission, one task, however often it was sent. */
export function storedOnce({ tasks }: Pick<Evidence, 'tasks'>): Problem[] {
  const seen = new Map<string, string>();
  const problems: Problem[] = [];
  for (const { id, by, n } of tasks.values()) {
    if (by === undefined || n === undefined) continue;
    const submission = `${by}#${n}`;
    const other = seen.get(submission);
    if (other !== undefined) problems.push(found('G1', `submission ${submission} made ${other} as well`, id));
    seen.set(submission, id);
  }
  return problems;
}

/** T1, T6: once everything is at rest, every task has ended, and as its kind should. */
export function allEnded(evidence: Evidence): Problem[] {
  return [...evidence.tasks.values()].flatMap((task) => {
    if (!ENDED.has(task.state))
      return [found('T1', `it is ${task.state} although nothing goes on any more`, task.id)];
    if (task.state === 'completed' || MAY_FAIL.has(task.type as TaskKind)) return [];
    return [found('T1', `it ended ${task.state} (${task.reason ?? 'no reason'})`, task.id)];
  });
}

/** T2: one key is one task, and what was accepted with it had one payload. */
export function keysNameOneTask(evidence: Pick<Evidence, 'entries' | 'tasks'>): Problem[] {
  const problems: Problem[] = [];
  const stored = [...evidence.tasks.values()].filter(({ key }) => key !== undefined);
  for (const [key, list] of Map.groupBy(stored, (task) => task.key))
    if (list.length > 1)
      problems.push(
        found('T2', `key ${key} is stored as ${list.map(({ id }) => id).join(' and ')}`, list[0]?.id),
      );
  const payloads = new Map(deeds(evidence, 'submit').map(({ p, n, other }) => [`${p}#${n}`, other === true]));
  const accepted = Map.groupBy(
    deeds(evidence, 'submitted').filter(({ key }) => key !== undefined),
    ({ key }) => key as string,
  );
  for (const [key, list] of accepted) {
    const tasks = [...new Set(list.map(({ task }) => task))];
    if (tasks.length > 1) problems.push(found('T2', `key ${key} is ${tasks.join(' and ')}`, tasks[0]));
    if (new Set(list.map(({ p, n }) => payloads.get(`${p}#${n}`))).size > 1)
      problems.push(found('T2', `key ${key} was accepted with two payloads`, tasks[0]));
  }
  return problems;
}

/** T3, W1: no attempt begins twice. */
export function begunOnce(evidence: Pick<Evidence, 'entries'>): Problem[] {
  const seen = new Map<string, string>();
  return deeds(evidence, 'begin').flatMap(({ task, token, p }) => {
    const attempt = `${task}@${token}`;
    const other = seen.get(attempt);
    seen.set(attempt, p);
    return other === undefined ? [] : [found('T3', `token ${token} began in ${other} and in ${p}`, task)];
  });
}

/** T4, T11: the effect of a task that is recorded together with its end is there once, under the token that ended it. */
export function effectsOnce(evidence: Evidence): Problem[] {
  const effects = Map.groupBy(evidence.effects, ({ task }) => task);
  const histories = byTask(evidence.history);
  const runs = runsOf(evidence);
  const withEffect = [...evidence.tasks.values()].filter(({ type }) => type === 'effect' || type === 'child');
  return withEffect.flatMap(({ id, state }) => {
    const rows = effects.get(id) ?? [];
    if (state !== 'completed')
      return rows.length === 0 ? [] : [found('T11', `an effect of a task that is ${state}`, id)];
    if (rows.length !== 1) return [found('T11', `${rows.length} effects of one completed task`, id)];
    const end = histories.get(id)?.at(-1);
    const run = (token: number | undefined): string | undefined => runs.get(`${id}@${token}`)?.name;
    // A run may go on under a new claim of its process between its effect and its end.
    if (end === undefined || (run(end.token) !== undefined && run(end.token) === run(rows[0]?.token)))
      return [];
    return [found('T11', `its effect has token ${rows[0]?.token}, its end ${end.token}`, id)];
  });
}

/** T4 where a store has no transactions: an effect with a token older than one before is refused, and none is missing. */
export function effectsInOrder(evidence: Evidence): Problem[] {
  const effects = Map.groupBy(evidence.effects, ({ task }) => task);
  return [...evidence.tasks.values()].flatMap(({ id, state, type }) => {
    if (type !== 'effect' && type !== 'child') return [];
    const rows = effects.get(id) ?? [];
    const stale = rows.some(({ token }, i) => i > 0 && token < (rows[i - 1]?.token ?? 0));
    return [
      ...(stale ? [found('T4', `effects by tokens ${rows.map(({ token }) => token).join(', ')}`, id)] : []),
      ...(state === 'completed' && rows.length === 0
        ? [found('T4', 'completed without its effect', id)]
        : []),
    ];
  });
}

/** T5: attempts are counted at the claim, and too many crashes bury a task. */
export function attemptsCounted(evidence: Evidence): Problem[] {
  const histories = byTask(evidence.history);
  const problems: Problem[] = [];
  for (const { task, token, attempt } of deeds(evidence, 'begin')) {
    const claim = histories.get(task)?.find((step) => step.to === 'claimed' && step.token === token);
    if (claim !== undefined && claim.attempt !== attempt)
      problems.push(found('T5', `attempt ${attempt} was counted as ${claim.attempt}`, task));
  }
  const begins = Map.groupBy(deeds(evidence, 'begin'), ({ task }) => task);
  for (const { id, state, type } of evidence.tasks.values()) {
    if (type !== 'poison') continue;
    if (state !== 'dead') problems.push(found('T5', `poison is ${state}`, id));
    const runs = begins.get(id)?.length ?? 0;
    if (runs > 4) problems.push(found('T5', `poison ran ${runs} times`, id));
  }
  return problems;
}

/** How long it took until the tasks of killed processes were somebody else's, ms; only where nothing else was broken meanwhile. */
export function recoveries(evidence: Evidence): { readonly task: string; readonly ms: number }[] {
  const histories = byTask(evidence.history);
  const bound = evidence.leaseMs + 1_000;
  return evidence.faults.flatMap((fault) => {
    if (fault.f !== 'kill' || isBroken(evidence.faults, fault.t - bound, fault.t + bound)) return [];
    return fault.tasks.flatMap((task) => {
      const next = histories.get(task)?.find(({ at }) => at > fault.at);
      return next === undefined ? [] : [{ task, ms: (next.at - fault.at) / 1_000 }];
    });
  });
}

/** Whether something else than kills and lost replies went on in this time. */
export function isBroken(faults: readonly Fault[], from: number, to: number): boolean {
  return faults.some((fault) => 'until' in fault && fault.f !== 'cut' && fault.t < to && fault.until > from);
}

/** T6: within lease + 1 s. */
export function takenOverInTime(evidence: Evidence): Problem[] {
  const bound = evidence.leaseMs + 1_000 + evidence.stallMs;
  return recoveries(evidence)
    .filter(({ ms }) => ms > bound)
    .map(({ task, ms }) =>
      found('T6', `claimable only ${Math.round(ms)} ms after its worker was killed`, task),
    );
}

/** T7: a task is overtaken only by tasks that are ahead of it by priority and age. Looks at first claims: a released task keeps its place. */
export function notStarved(evidence: Evidence): Look {
  const waits = firstWaits(evidence);
  const atOnceUs = AT_ONCE_US + evidence.stallMs * 1_000;
  const problems: Problem[] = [];
  for (const [i, claimed] of waits.entries()) {
    for (const passed of waits.slice(i + 1)) {
      const isPassed =
        passed.thereAt < claimed.claimedAt - atOnceUs &&
        passed.claimedAt > claimed.claimedAt + atOnceUs &&
        claimed.rank > passed.rank + atOnceUs;
      if (isPassed) problems.push(found('T7', `overtaken by ${claimed.id}`, passed.id));
    }
  }
  return { looked: waits.length, problems };
}

/** The same, as far as it is about tasks that were submitted in transactions of the caller's. */
export function ordersNotStarved(evidence: Evidence): Look | undefined {
  if (evidence.orders === undefined) return undefined;
  const isOrder = (id: string): boolean => evidence.tasks.get(id)?.type === ('order' satisfies TaskKind);
  const looked = firstWaits(evidence).filter(({ id, thereAt }) => isOrder(id) && thereAt < Infinity).length;
  return { looked, problems: [] };
}

interface Wait {
  readonly id: string;
  /** When others could see it, µs: later than it became ready, where a transaction of the caller's had to be committed first. */
  readonly thereAt: number;
  readonly claimedAt: number;
  readonly rank: number;
}

/** From ready to first claimed, in order of claims. */
function firstWaits(evidence: Evidence): Wait[] {
  const { history, tasks } = evidence;
  const waits: Wait[] = [];
  const committed = commits(evidence);
  for (const [id, steps] of byTask(history)) {
    const task: StoredTask | undefined = tasks.get(id);
    const ready = steps.find(({ to }) => to === 'ready');
    const claim = steps.find(({ to }) => to === 'claimed');
    if (task === undefined || ready === undefined || claim === undefined) continue;
    const rank = ready.at - task.priority * AGE_STEP_US;
    const isOrder = task.type === ('order' satisfies TaskKind);
    // A commit that nobody heard of may have been at any time.
    const thereAt = isOrder ? (committed.get(id) ?? Infinity) : ready.at;
    waits.push({ id, thereAt, claimedAt: claim.at, rank });
  }
  return waits.toSorted((a, b) => a.claimedAt - b.claimedAt);
}

/** When the transactions of callers had been committed, at the latest, by the store's clock, µs. */
function commits(evidence: Pick<Evidence, 'entries' | 'samples'>): Map<string, number> {
  const offset = clockOffsetMs(evidence);
  return new Map(deeds(evidence, 'submitted').map(({ task, t }) => [task, (t - offset) * 1_000]));
}

/** T8: nothing begins before its time. */
export function notEarly(evidence: Pick<Evidence, 'entries' | 'tasks'>): Problem[] {
  const due = new Map<string, number>();
  for (const { p, n, t, delayMs } of deeds(evidence, 'submit'))
    if (delayMs !== undefined) due.set(`${p}#${n}`, t + delayMs - SLACK_MS);
  return deeds(evidence, 'begin').flatMap(({ task, t }) => {
    const { by, n } = evidence.tasks.get(task) ?? {};
    const at = due.get(`${by}#${n}`);
    return at === undefined || t >= at ? [] : [found('T8', `began ${Math.round(at - t)} ms early`, task)];
  });
}

/** Dependencies: nothing is claimed before its parents have ended. */
export function parentsFirst(evidence: Evidence): Problem[] {
  const histories = byTask(evidence.history);
  const ended = (id: string): number | undefined =>
    histories.get(id)?.findLast(({ to }) => ENDED.has(to))?.at;
  return deeds(evidence, 'submit').flatMap(({ task, after }) => {
    if (task === undefined || after === undefined) return [];
    const claim = histories.get(task)?.find(({ to }) => to === 'claimed');
    if (claim === undefined) return [];
    return after
      .filter((parent) => (ended(parent) ?? Infinity) > claim.at)
      .map((parent) => found('graph', `claimed before its parent ${parent} had ended`, task));
  });
}

/** T9: enqueued = Σ states + pruned in every sample; and the rows that are really there, and those who heard of them, agree. */
export function conserved(evidence: Evidence): Problem[] {
  const problems: Problem[] = [];
  const all = [...evidence.samples, ...evidence.rests.map(({ sample }) => sample)];
  for (const { t, enqueued, pruned, states } of all) {
    const sum = Object.values(states).reduce((total, count) => total + count, 0);
    if (enqueued !== sum + pruned)
      problems.push(
        found('T9', `${enqueued} enqueued, ${sum} in states, ${pruned} pruned at ${Math.round(t)}`),
      );
    if (Object.values(states).some((count) => count < 0)) problems.push(found('T9', JSON.stringify(states)));
  }
  const submitted = deeds(evidence, 'submitted');
  for (const { t, rows, sample } of evidence.rests) {
    if (rows !== sample.enqueued - sample.pruned)
      problems.push(found('T9', `${rows} rows, but ${sample.enqueued} enqueued and ${sample.pruned} pruned`));
    const heard = new Set(submitted.filter((entry) => entry.t <= t).map(({ task }) => task)).size;
    if (heard > sample.enqueued)
      problems.push(found('T9', `${heard} acknowledged, ${sample.enqueued} enqueued`));
  }
  return problems;
}

/** T10: an agent never runs more handlers than it has slots. */
export function slotsKept(evidence: Pick<Evidence, 'entries' | 'slots'>): Problem[] {
  return deeds(evidence, 'begin')
    .filter(({ running }) => running > evidence.slots)
    .map(({ task, p, running }) => found('T10', `${running} handlers at once in ${p}`, task));
}

/** T11: a task submitted in a transaction is there exactly when the transaction was committed. */
export function transactionsWhole(evidence: Evidence): Problem[] {
  const { orders, tasks } = evidence;
  if (orders === undefined) return [];
  return deeds(evidence, 'submit').flatMap(({ task, kind, rolledBack }) => {
    if (kind !== 'order' || task === undefined) return [];
    const isCommitted = orders.has(task);
    if (rolledBack === true && isCommitted) return [found('T11', 'the rolled-back row is there', task)];
    if (isCommitted !== tasks.has(task))
      return [
        found('T11', isCommitted ? 'its row is there, it is not' : 'it is there, its row is not', task),
      ];
    return [];
  });
}

/** G2: every call ends, and with an answer that says what happened. */
export function answersKnown(evidence: Pick<Evidence, 'entries'>): Problem[] {
  const refused = deeds(evidence, 'refused').flatMap(({ p, n, code }) =>
    EXCUSED.has(code) || code === 'IDEMPOTENCY_CONFLICT' ? [] : [found('G2', `submission ${n}: ${code}`, p)],
  );
  return [...refused, ...deeds(evidence, 'odd').map(({ p, what }) => found('G2', what, p))];
}

/** What a submitter heard of the end is what the store has. */
export function outcomesTrue(evidence: Pick<Evidence, 'entries' | 'tasks'>): Problem[] {
  return deeds(evidence, 'outcome').flatMap(({ task, as }) => {
    const state = evidence.tasks.get(task)?.state;
    if (as === 'completed' ? state === 'completed' : EXCUSED.has(as) || state !== 'completed') return [];
    return [found('T4', `its submitter heard ${as}, it is ${state ?? 'not there'}`, task)];
  });
}
