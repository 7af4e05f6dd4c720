import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Lease } from '../../src/core/lock-types.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import type { LockRecord } from '../../src/resources/lock-record.ts';
import { createDesk } from '../support/locks/lock-desk.ts';
import { remoteLocks } from '../support/locks/remote-locks.ts';

const MODES = ['shared', 'update', 'exclusive'] as const;
type Mode = (typeof MODES)[number];

/** Shared goes with shared, and with one update. */
function together(a: Mode, b: Mode): boolean {
  return a !== 'exclusive' && b !== 'exclusive' && (a === 'shared' || b === 'shared');
}

test('L2, L6: whatever overtakes what on the way to a far store, users hold what the store says, and in the end nothing is left', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer(), async (seed) => {
      const random = createRandom(`modes ${seed}`);
      const dice = (sides: number): number => Math.floor(random.next() * sides);
      const desk = createDesk({ resourceTimeout: 200 }, (store, clock) => {
        const travel = (): Promise<void> => new Promise((resolve) => void clock.after(dice(40), resolve));
        return remoteLocks(store, async (_, call) => {
          await travel();
          const answer = call();
          await travel();
          return answer;
        });
      });
      const { locks, store, clock } = desk;
      const held = new Set<Lease>();
      const problems: string[] = [];
      const look = (): void => {
        const modes = [...held]
          .filter((lease) => (lease as LockRecord).status === 'held')
          .map((lease) => (lease as LockRecord).plan.items[0]?.mode as Mode);
        modes.forEach((mode, i) => {
          if (modes.some((other, j) => i !== j && !together(mode, other))) problems.push(modes.join(' and '));
        });
      };
      const pause = (ms: number): Promise<void> => new Promise((resolve) => void clock.after(ms, resolve));
      const actor = async (): Promise<void> => {
        for (let round = 0; round < 2; round++) {
          const mode = MODES[dice(3)] as Mode;
          const own = dice(2) === 0 ? { leaseMs: 600 } : {};
          const lease = await locks
            .acquire({ resource: 'x', mode }, { timeoutMs: 20 + dice(300), ...own })
            .catch(() => undefined);
          if (lease === undefined) continue;
          held.add(lease);
          look();
          const changes: Promise<unknown>[] = [];
          for (let step = dice(4); step > 0; step--) {
            const change = dice(3) === 0 ? lease.downgrade() : lease.upgrade({ timeoutMs: 1 + dice(150) });
            changes.push(change.then(look, look));
            await pause(dice(100));
          }
          if (dice(2) === 0) await Promise.all(changes);
          await Promise.all([lease.release(), ...changes]);
          held.delete(lease);
        }
      };
      let done = false;
      const all = Promise.all([actor(), actor(), actor()]).then(() => void (done = true));
      for (let ms = 0; ms < 20_000 && !done; ms += 50) await clock.advance(50);
      expect(done).toBe(true);
      await all;
      await clock.advance(2_000);
      expect(problems).toEqual([]);
      expect(store.live.counts()).toMatchObject({ held: 0, waiting: 0 });
      expect(desk.named('resource:expired')).toEqual([]);
    }),
    // A renewal is overtaken by an upgrade whose user has gone: the answer comes when the lock has its old token again.
    { examples: [[-452146922]] },
  );
});
