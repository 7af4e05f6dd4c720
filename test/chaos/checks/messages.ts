import { deeds, type Evidence, type Problem } from './evidence.ts';

/**
 * M1: what was acknowledged to its sender is handled at least once; again only when it is said to be again; and in the order of its sender,
 * also when something is delivered again.
 */
export function messageProblems(evidence: Pick<Evidence, 'entries'>, isAtRest = true): Problem[] {
  const problems: Problem[] = [];
  const sent = Map.groupBy(deeds(evidence, 'sent'), ({ p, to }) => `${p} → ${to}`);
  const received = Map.groupBy(deeds(evidence, 'received'), ({ from, to }) => `${from} → ${to}`);
  const problem = (pair: string, what: string): void =>
    void problems.push({ invariant: 'M1', what, about: pair });
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
