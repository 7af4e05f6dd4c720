import { createRandom } from '../../src/core/runtime/random.ts';
import type { Problem } from './checks/evidence.ts';

/** Something that is done to the mesh at a time after the beginning of its round, ms. */
export type Step = { readonly at: number } & (
  | { readonly do: 'kill' | 'poison' }
  | { readonly do: 'freeze'; readonly ms: number }
  | { readonly do: 'partition'; readonly ms: number; readonly manner: 'held' | 'refusing' }
  | { readonly do: 'server'; readonly downMs: number }
  | { readonly do: 'cut'; readonly count: number }
  | { readonly do: 'clock'; readonly byMs: number }
);

export interface Amounts {
  readonly rounds: number;
  /** In each round. */
  readonly kills: number;
  readonly freezes: number;
  readonly partitions: number;
  readonly servers: number;
  readonly cuts: number;
  readonly clocks: number;
  /** Between two kills, ms. */
  readonly killEveryMs: number;
}

export const QUICK: Amounts = {
  rounds: 5,
  ...{ kills: 6, freezes: 1, partitions: 2, servers: 1, cuts: 48, clocks: 2, killEveryMs: 1_100 },
};
export const FULL: Amounts = {
  rounds: 20,
  ...{ kills: 10, freezes: 3, partitions: 5, servers: 2, cuts: 80, clocks: 4, killEveryMs: 1_000 },
};

/**
 * The faults of one round, in order of time, from a seed: first kills alone, so that how long it takes to recover from one can be seen; then
 * everything at once.
 */
export function planRound(seed: string, round: number, amounts: Amounts, leaseMs: number): Step[] {
  const random = createRandom(`plan ${seed} ${round}`);
  const between = (from: number, to: number): number => Math.round(from + random.next() * (to - from));
  const { kills, freezes, partitions, servers, cuts, clocks, killEveryMs } = amounts;
  const quietKills = Math.ceil(kills / 2);
  const stormAt = (quietKills + 1.5) * killEveryMs;
  const stormMs = Math.max(5_500, (kills - quietKills) * killEveryMs, freezes * 3 * leaseMs);
  const steps: Step[] = [];
  const storm = (): number => stormAt + between(0, stormMs);
  if (round === 0) steps.push({ at: 200, do: 'poison' });
  for (let i = 0; i < quietKills; i++) steps.push({ at: 300 + i * killEveryMs, do: 'kill' });
  for (let i = quietKills; i < kills; i++) steps.push({ at: storm(), do: 'kill' });
  for (let i = 0; i < freezes; i++)
    steps.push({ at: storm(), do: 'freeze', ms: between(1.5 * leaseMs, 3 * leaseMs) });
  for (let i = 0; i < partitions; i++) {
    const manner = i % 2 === 0 ? 'held' : 'refusing';
    steps.push({ at: storm(), do: 'partition', ms: between(leaseMs / 2, 2.5 * leaseMs), manner });
  }
  for (let i = 0; i < servers; i++) steps.push({ at: storm(), do: 'server', downMs: between(50, 600) });
  // Lost replies go on all the time, a few at once.
  const bursts = Math.ceil(cuts / 4);
  for (let i = 0; i < bursts; i++)
    steps.push({ at: between(0, stormAt + stormMs), do: 'cut', count: Math.min(4, cuts - i * 4) });
  const jumps = [3_600_000, -1_800_000, 86_400_000, -7_200_000, 0];
  for (let i = 0; i < clocks; i++)
    steps.push({ at: storm(), do: 'clock', byMs: jumps[(round * clocks + i) % jumps.length] ?? 0 });
  return steps.toSorted((a, b) => a.at - b.at);
}

/** How often what was done. */
export interface Tally {
  kills: number;
  freezes: number;
  partitions: number;
  servers: number;
  cuts: number;
  clocks: number;
  poison: number;
}

/** Less was done than was meant to be: then that nothing broke says little. */
export function tooFew(tally: Tally, { rounds, ...each }: Amounts): Problem[] {
  const done = { ...tally, kills: tally.kills - tally.poison };
  // A reply that nobody waited for can't be lost: of the cuts a tenth may miss.
  const wanted = { ...each, cuts: Math.floor(each.cuts * 0.9) };
  return (['kills', 'freezes', 'partitions', 'servers', 'cuts', 'clocks'] as const).flatMap((what) =>
    done[what] >= rounds * wanted[what]
      ? []
      : [{ invariant: 'amounts', what: `${done[what]} ${what}, meant were ${rounds * wanted[what]}` }],
  );
}
