import { deeds, type Evidence, found, type Look, type Problem } from './evidence.ts';
import { sessionEnds } from './sessions.ts';

/**
 * M1: what was acknowledged to its sender is handled at least once; again only when it is said to be again; and in the order of its sender,
 * also when something is delivered again.
 */
export function messageProblems(evidence: Pick<Evidence, 'entries'>, isAtRest = true): Problem[] {
  const problems: Problem[] = [];
  const sent = Map.groupBy(deeds(evidence, 'sent'), ({ p, to }) => `${p} → ${to}`);
  const received = Map.groupBy(deeds(evidence, 'received'), ({ from, to }) => `${from} → ${to}`);
  const problem = (pair: string, what: string): void => void problems.push(found('M1', what, pair));
  for (const [pair, list] of sent) {
    const numbers = list.map(({ n }) => n).toSorted((a, b) => a - b);
    const handled = new Set<number>();
    let due = 0;
    for (const { n, redelivered } of received.get(pair) ?? []) {
      if (handled.has(n)) {
        if (!redelivered) problem(pair, `${n} came twice, and nothing said so`);
        continue;
      }
      while (due < numbers.length && handled.has(numbers[due] as number)) due += 1;
      const missing = numbers[due];
      if (missing !== undefined && missing < n) problem(pair, `${n} came before ${missing}`);
      handled.add(n);
    }
    const lost = numbers.filter((n) => !handled.has(n));
    if (isAtRest && lost.length > 0) problem(pair, `never came: ${lost.slice(0, 10).join(', ')}`);
  }
  return problems;
}

/**
 * M1: what comes was sent, to there; and again only for a cause: since it came before, or was sent, its receiver was killed, lost its session,
 * or was kept from the store, or the store itself was away.
 */
export function receiptsCaused(
  evidence: Pick<Evidence, 'entries' | 'faults' | 'leaseMs' | 'reading' | 'samples'>,
): Look {
  const sends = new Map(deeds(evidence, 'send').map(({ p, to, n, t }) => [`${p} → ${to}: ${n}`, t]));
  const troubles = troublesOf(evidence);
  const lastAt = new Map<string, number>();
  const received = deeds(evidence, 'received');
  const problems = received.flatMap(({ from, to, n, redelivered, p, t }) => {
    const message = `${from} → ${to}: ${n}`;
    const sentAt = sends.get(message);
    if (sentAt === undefined) return [found('M1', `${n} was sent by nobody`, `${from} → ${to}`)];
    if (sentAt > t) return [found('M1', `${n} came before it was sent`, `${from} → ${to}`)];
    const before = lastAt.get(message);
    lastAt.set(message, t);
    if (before === undefined && !redelivered) return [];
    const since = (before ?? sentAt) - evidence.leaseMs;
    const places = ['*', placeOf(p)];
    const isCaused = troubles.some((one) => places.includes(one.place) && one.t < t && one.until > since);
    return isCaused ? [] : [found('M1', `${n} came again, for no cause`, `${from} → ${to}`)];
  });
  return { looked: received.length, problems };
}

interface Trouble {
  readonly place: string;
  readonly t: number;
  readonly until: number;
}

/** Places are `<place>.<boot>`: whoever takes a place reads the mailbox of who was there before. */
function placeOf(p: string): string {
  return p.split('.')[0] ?? p;
}

function troublesOf(evidence: Pick<Evidence, 'entries' | 'faults' | 'reading' | 'samples'>): Trouble[] {
  const ends = sessionEnds(evidence).map(({ p, t }) => ({ place: placeOf(p), t, until: t }));
  const faults = evidence.faults.flatMap((fault) => {
    if (fault.f === 'clock') return [];
    const { p, t } = fault;
    return [{ place: placeOf(p), t, until: 'until' in fault ? fault.until : t }];
  });
  return [...ends, ...faults];
}
