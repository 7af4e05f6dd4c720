import { deeds, type Evidence } from './evidence.ts';

/** Which process each session is of: its process noted the number of the system's, and told it to the store. */
export function ownersOf({
  entries,
  reading,
}: Pick<Evidence, 'entries' | 'reading'>): ReadonlyMap<number, string> {
  const names = new Map(deeds({ entries }, 'start').map(({ pid, p }) => [pid, p]));
  return new Map(
    [...reading.sessions].flatMap(([session, { pid }]) => {
      const p = names.get(pid);
      return p === undefined ? [] : [[session, p]];
    }),
  );
}

/** When sessions ended, or would end, by the clock of the journals. */
export function sessionEnds(
  evidence: Pick<Evidence, 'entries' | 'reading' | 'samples'>,
): { readonly p: string; readonly t: number }[] {
  const offset = clockOffsetMs(evidence);
  return [...ownersOf(evidence)].map(([session, p]) => {
    const { endsAt } = evidence.reading.sessions.get(session) as { readonly endsAt: number };
    return { p, t: endsAt / 1_000 + offset };
  });
}

/** What to add to the store's time to have that of the journals, ms. A sample is noted a little after it was taken: the shortest of these times says most. */
export function clockOffsetMs({ samples }: Pick<Evidence, 'samples'>): number {
  return Math.min(...samples.map(({ t, at }) => t - at / 1_000));
}
