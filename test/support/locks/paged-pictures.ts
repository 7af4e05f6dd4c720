import type { RedisStore } from '../../../src/backends/redis/connection.ts';
import { RedisLockStore } from '../../../src/backends/redis/locks/lock-store.ts';
import type { LockItem, LockStore, WaitRef } from '../../../src/core/ports/locks.ts';
import type { Random } from '../../../src/core/ports/runtime.ts';
import type { Operation } from '../../../src/core/ports/words.ts';
import { cycleThrough, findDeadlocks } from '../../../src/resources/find-deadlock.ts';
import { findStuck } from '../../../src/resources/reduce.ts';
import { SnapshotWaits } from '../../../src/resources/snapshot-waits.ts';
import { requestOf } from '../../../src/testing/suites/locks/world.ts';
import { canFinish } from './brute-force.ts';
import { graphOf } from './snapshot-graph.ts';

const OWNERS = ['o1', 'o2', 'o3', 'o4', 'o5', 'o6'];

/** Owners that take, wait, give up and give back, at random. */
export class Bustle {
  readonly #locks: LockStore;
  readonly #op: () => Operation;
  readonly #random: Random;
  readonly #wishes: readonly LockItem[];
  readonly #held = new Map<string, string[]>(OWNERS.map((owner) => [owner, []]));
  readonly #waiting = new Map<string, string>();
  #next = 0;

  constructor(locks: LockStore, op: () => Operation, random: Random, wishes: readonly LockItem[]) {
    this.#locks = locks;
    this.#op = op;
    this.#random = random;
    this.#wishes = wishes;
  }

  async step(): Promise<void> {
    const owner = this.#pick(OWNERS);
    const held = this.#held.get(owner) as string[];
    const wait = this.#waiting.get(owner);
    if (wait !== undefined) {
      // Now and then somebody runs out of patience, or is deprived of what it holds.
      const luck = this.#random.next();
      if (luck < 0.2) await this.#end(owner, wait);
      else if (luck < 0.4 && held.length > 0) await this.#end(owner, held[0] as string);
    } else if (held.length > 0 && this.#random.next() < 0.35) await this.#end(owner, held[0] as string);
    else await this.#ask(owner);
  }

  async #ask(owner: string): Promise<void> {
    const id = `q${this.#next++}`;
    const request = requestOf(id, [this.#pick(this.#wishes)], { owner, reentrant: false });
    const { answers } = await this.#locks.request(this.#op(), [request]);
    if (answers[0]?.status === 'granted') this.#held.get(owner)?.push(id);
    if (answers[0]?.status === 'waiting') this.#waiting.set(owner, id);
  }

  async #end(owner: string, id: string): Promise<void> {
    const { granted } = await this.#locks.release(this.#op(), [{ id }]);
    if (this.#waiting.get(owner) === id) this.#waiting.delete(owner);
    const held = this.#held.get(owner) as string[];
    if (held.includes(id)) held.splice(held.indexOf(id), 1);
    for (const next of granted) this.#got(next);
  }

  #got(id: string): void {
    for (const [owner, wait] of this.#waiting) {
      if (wait !== id) continue;
      this.#waiting.delete(owner);
      this.#held.get(owner)?.push(id);
    }
  }

  /** A victim has been told. */
  aborted(id: string): void {
    for (const [owner, wait] of this.#waiting) if (wait === id) this.#waiting.delete(owner);
  }

  #pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.#random.next() * list.length)] as T;
  }
}

/** The same locks, but each resource is read by a script of its own, and things happen between any two scripts. */
export function pagedLocks(store: RedisStore, between: () => Promise<void>): RedisLockStore {
  const paged = {
    async run(script: { readonly name: string }, args: readonly (string | number)[], kind: 'read' | 'write') {
      await between();
      if (script.name !== 'lock-rows') return store.run(script as never, args, kind);
      const [most, leases, ...names] = args;
      const parts: [string, unknown[], unknown[]][] = [];
      for (const name of names) {
        await between();
        parts.push(
          (await store.run(script as never, [most as string, leases as string, name], kind)) as never,
        );
      }
      return [
        parts[0]?.[0] ?? '0',
        parts.flatMap(([, rows]) => rows),
        parts.flatMap(([, , requests]) => requests),
      ];
    },
  };
  return new RedisLockStore(paged as unknown as RedisStore);
}

/** What becomes of the deadlocks that a picture shows. */
export interface Verdicts {
  found: number;
  aborted: number;
  /** Aborted, although the victim could have gone on. */
  unjust: number;
}

/**
 * Looks for deadlocks in a picture that was read in pieces, as the detector does, ends a wait of each, and judges it by what is true at that moment.
 * @param witnesses whose waits must stand still: those of the cycle that is reported, or of everybody who can't go on
 */
export async function judge(
  picture: LockStore,
  truth: LockStore,
  bustle: Bustle,
  op: () => Operation,
  between: () => Promise<void>,
  witnesses: 'cycle' | 'all',
  verdicts: Verdicts,
): Promise<void> {
  const waits = new SnapshotWaits(await picture.snapshot());
  for (const members of findDeadlocks(findStuck(waits.waiting(), waits))) {
    const [victim] = members;
    if (victim === undefined) continue;
    const cycle = cycleThrough(victim);
    verdicts.found += 1;
    await between();
    const nodes = witnesses === 'all' ? members.map(({ id }) => id) : cycle.map(({ waiter }) => waiter);
    const refs = (node: string): readonly WaitRef[] => waits.waits(node).map(({ ref }) => ref);
    const others = [...new Set(nodes)].filter((node) => node !== victim.id).flatMap(refs);
    const [wait] = refs(victim.id);
    if (wait === undefined) continue;
    const graph = graphOf(await truth.snapshot());
    const isStuck = graph.has(victim.id) && !canFinish(graph).has(victim.id);
    const { aborted } = await truth.abort(op(), wait, cycle, others);
    if (!aborted) continue;
    bustle.aborted(wait.id);
    verdicts.aborted += 1;
    if (!isStuck) verdicts.unjust += 1;
  }
}
