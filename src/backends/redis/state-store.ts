import type { Entry, StateStore, Swap } from '../../core/ports/state.ts';
import type { BackendTime, Operation, Stamped } from '../../core/ports/words.ts';
import type { RedisStore } from './connection.ts';
import { defineScript } from './scripts.ts';
import { STATE_CHANGES, STATE_GET, STATE_SWAP } from './state/lua/scripts.ts';

const GET = defineScript('state-get', STATE_GET);
const SWAP = defineScript('state-swap', STATE_SWAP);
const CHANGES = defineScript('state-changes', STATE_CHANGES);

/** Where nothing was swapped, with the value that is there. */
type Swapped = readonly [revision: number, at: number, value?: unknown] | null;

/** Shared facts in Redis: a script is the transaction, and a counter that is at least the time in µs the commit order. */
export class RedisStateStore implements StateStore {
  readonly #store: RedisStore;

  constructor(store: RedisStore) {
    this.#store = store;
  }

  async get(
    keys: readonly string[],
  ): Promise<Stamped & { readonly entries: readonly (Entry | undefined)[] }> {
    const answer = await this.#store.run(GET, keys, 'read');
    const [at, ...records] = answer as [string, ...(string | null)[]];
    return {
      at: Number(at) as BackendTime,
      entries: keys.map((key, i) => {
        const record = records[i];
        if (record === null || record === undefined) return undefined;
        const entry = entryOf(key, record);
        return entry.value === undefined ? undefined : entry;
      }),
    };
  }

  async compareAndSet(
    op: Operation,
    swaps: readonly Swap[],
  ): Promise<Stamped & { readonly swapped: boolean; readonly entries: readonly (Entry | undefined)[] }> {
    const args: (string | number)[] = [op.session, op.sequence];
    const texts = swaps.map(({ value }) => (value === undefined ? '' : JSON.stringify(value)));
    for (const [i, swap] of swaps.entries()) {
      const endsInUs = swap.expiresInMs === undefined ? '' : Math.floor(swap.expiresInMs * 1_000);
      args.push(swap.key, swap.expected, swap.session === true ? 's' : '', endsInUs, texts[i] as string);
    }
    const answer = JSON.parse((await this.#store.run(SWAP, args, 'write')) as string) as {
      readonly at: BackendTime;
      readonly swapped: boolean;
      readonly entries: readonly Swapped[];
    };
    const { at, swapped } = answer;
    const entries = answer.entries.map((found, i): Entry | undefined => {
      if (found === null) return undefined;
      const [revision, changedAt] = found;
      const value: unknown = swapped ? JSON.parse(texts[i] as string) : found[2];
      return { key: (swaps[i] as Swap).key, value, revision, changedAt: changedAt as BackendTime };
    });
    return { at, swapped, entries };
  }

  async changes(
    prefix: string,
    after: number,
    limit: number,
  ): Promise<
    Stamped & {
      readonly entries: readonly Entry[];
      readonly revision: number;
      readonly reset: boolean;
      readonly more: boolean;
    }
  > {
    const answer = await this.#store.run(CHANGES, [prefix, after, limit], 'read');
    const [at, revision, reset, more, ...found] = answer as [string, string, string, string, ...string[]];
    const entries: Entry[] = [];
    for (let i = 0; i < found.length; i += 2) {
      entries.push(entryOf(found[i] as string, found[i + 1] as string));
    }
    return {
      at: Number(at) as BackendTime,
      entries,
      revision: Number(revision),
      reset: reset === 'yes',
      more: more === 'yes',
    };
  }
}

/** `revision changedAt session value`, a tombstone without the value. */
function entryOf(key: string, record: string): Entry {
  const afterRevision = record.indexOf(' ');
  const afterTime = record.indexOf(' ', afterRevision + 1);
  const afterSession = record.indexOf(' ', afterTime + 1);
  const text = record.slice(afterSession + 1);
  return {
    key,
    value: text === '' ? undefined : (JSON.parse(text) as unknown),
    revision: Number(record.slice(0, afterRevision)),
    changedAt: Number(record.slice(afterRevision + 1, afterTime)) as BackendTime,
  };
}
