import { andThen, isPromise } from '../core/awaitable.ts';
import { checkArray, checkId, checkInteger, invalid } from '../core/check.ts';
import { describe } from '../core/errors.ts';
import { checkOptions } from '../core/options.ts';
import type { LockRow, LockStore } from '../core/ports/locks.ts';
import type { Awaitable, Page, PageRequest } from '../core/ports/words.ts';
import { isRunNode, nodeName } from '../core/run-node.ts';
import type { LockClient } from './lock-client.ts';
import type { LockRecord } from './lock-record.ts';
import type { WaitForGraph } from './wait-for-graph.ts';
import { type WaitLink, whyWaiting } from './why.ts';

/** Who holds and wants what, for people: what `ResourceManager` answers. */
export class LockViews {
  readonly #client: LockClient;
  readonly #graph: WaitForGraph;

  constructor(client: LockClient, graph: WaitForGraph) {
    this.#client = client;
    this.#graph = graph;
  }

  allocations(): Map<string, string> {
    const held = this.#records('held').sort((a, b) => a.grant.token - b.grant.token);
    const found = new Map<string, string>();
    for (const lock of held) {
      for (const name of lock.names) if (!found.has(name)) found.set(name, lock.holder.label);
    }
    return found;
  }

  waitingRequests(): Map<string, string[]> {
    const found = new Map<string, string[]>();
    for (const { names, holder } of this.#queue()) {
      for (const name of names) {
        const known = found.get(name);
        if (known === undefined) found.set(name, [holder.label]);
        else known.push(holder.label);
      }
    }
    return found;
  }

  why(node: string): readonly WaitLink[] {
    this.#client.expose(node);
    const now = this.#client.runtime.clock.mono();
    let since = now;
    for (const { pending } of this.#client.owners.recordsOf(node)) {
      since = Math.min(since, pending?.startedAt ?? now);
    }
    return whyWaiting(node, now - since, {
      requirements: (waiter) => this.#graph.requirements(waiter),
      agent: (waiter) => this.#client.owners.find(waiter)?.agent ?? this.#graph.facts(waiter)?.agent,
    });
  }

  requestTimes(resource: string, agents: readonly string[]): ReadonlyMap<string, Date> {
    checkId(resource, 'resource');
    const names = checkArray(agents, 'agents');
    const { clock } = this.#client.runtime;
    const found = new Map<string, Date>();
    for (const record of this.#client.owners.records()) {
      const { holder, pending } = record;
      if (!record.isOn(resource) || !names.includes(holder.label)) continue;
      const agoMs = pending === undefined ? this.#client.ageMs(record) : clock.mono() - pending.startedAt;
      const known = found.get(holder.label);
      const at = new Date(clock.wall() - agoMs);
      if (known === undefined || at < known) found.set(holder.label, at);
    }
    return found;
  }

  list(filter: Parameters<LockStore['list']>[0], page: PageRequest): Awaitable<Page<LockRow>> {
    const wanted = checkOptions('filter', filter, ['resource', 'prefix', 'agent', 'contended'], 'the filter');
    const part = checkOptions('page', page, ['after', 'limit', 'scanBudget'], 'the page');
    const { limit, ...more } = part;
    checkInteger(limit, 'limit', 1, 1_000);
    if (more.after !== undefined && typeof more.after !== 'string')
      throw invalid(`Expected after to be the \`next\` of another page, got ${describe(more.after)}`);
    return andThen(this.#client.store.list(wanted, { limit, ...more }), namedRows);
  }

  use(): { readonly held: number; readonly known: number; readonly waiting: number } {
    const { live } = this.#client.store;
    if (live !== undefined) return live.counts();
    const held = this.allocations().size;
    return { held, known: held, waiting: this.#records('waiting').length };
  }

  /** Waits in the order in which the store serves them, as far as that can be said without asking it. */
  #queue(): LockRecord[] {
    const { store } = this.#client;
    const waits = this.#records('waiting');
    const snapshot = waits.length > 0 && store.live !== undefined ? store.snapshot() : undefined;
    if (snapshot === undefined || isPromise(snapshot)) return waits;
    const place = new Map<string, number>();
    for (const { queue } of snapshot.resources) {
      queue.forEach(({ wait }, i) => place.set(wait.id, Math.max(place.get(wait.id) ?? 0, i)));
    }
    const placeOf = ({ quick, waitId }: LockRecord): number => place.get(quick?.id ?? waitId) ?? 0;
    return waits.sort((a, b) => placeOf(a) - placeOf(b));
  }

  #records(status: LockRecord['status']): LockRecord[] {
    return [...this.#client.owners.records()].filter((record) => record.status === status);
  }
}

/** Rows as people read them. */
function namedRows(page: Page<LockRow>): Page<LockRow> {
  const items = page.items.map((row) => ({
    ...row,
    holders: row.holders.map((held) =>
      isRunNode(held.owner.id) ? { ...held, owner: named(held.owner) } : held,
    ),
  }));
  return { ...page, items };
}

function named(owner: LockRow['holders'][number]['owner']): LockRow['holders'][number]['owner'] {
  const { id, agent, task, priority, since, defeats } = owner;
  return { id: nodeName(id), agent, task, priority, since, defeats };
}
