import type { Transition } from '../../src/core/ports/tasks.ts';
import type { BackendTime, SessionNumber } from '../../src/core/ports/words.ts';

/** What a killed worker was running. */
export interface Wreck {
  readonly at: BackendTime;
  readonly session: SessionNumber;
  readonly tasks: readonly string[];
}

/**
 * From each kill until each of its tasks was running again somewhere, ms. A task whose taker fell too before it could give it on counts
 * from that fall only, for then that lease had to run out.
 * @param fallen sessions whose processes were killed or paused
 */
export function recoveries(
  wrecks: readonly Wreck[],
  fallen: ReadonlySet<SessionNumber>,
  history: readonly Transition[],
): readonly number[] {
  const byTask = Map.groupBy(history, ({ task }) => task);
  return wrecks.flatMap(({ at, tasks }) =>
    tasks.flatMap((task) => {
      const claims = (byTask.get(task) ?? []).filter((one) => one.at > at && one.to === 'claimed');
      const again = claims.findIndex(({ from }) => from === 'ready');
      if (again < 0) return [];
      const lost = claims.slice(0, Math.max(0, again - 1));
      if (lost.some((one) => one.session !== undefined && fallen.has(one.session))) return [];
      return [((claims[again] as Transition).at - at) / 1_000];
    }),
  );
}
