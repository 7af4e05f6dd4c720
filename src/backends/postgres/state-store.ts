import type { Entry, StateStore, Swap } from '../../core/ports/state.ts';
import type { BackendTime, Operation, Stamped } from '../../core/ports/words.ts';
import type { Database } from './database.ts';

/** An entry as the functions answer it; a deleted one has no value. */
interface EntryText {
  readonly key: string;
  readonly value?: unknown;
  readonly revision: number;
  readonly changedAt: BackendTime;
}

interface Answer {
  readonly at: BackendTime;
  readonly entries: readonly (EntryText | null)[];
}

type SwapAnswer = Answer & { readonly swapped: boolean };
type ChangesAnswer = Answer & { readonly revision: number; readonly reset: boolean; readonly more: boolean };

/** Shared facts in PostgreSQL: one row a key, and one head row that orders all changes by their commits. */
export class PostgresStateStore implements StateStore {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  async get(
    keys: readonly string[],
  ): Promise<Stamped & { readonly entries: readonly (Entry | undefined)[] }> {
    if (keys.length === 0) return { at: await this.#db.now(), entries: [] };
    const rows = await this.#db.read<AnswerRow>('select agentmesh.state_get_v1($1) as answer', [keys]);
    const { at, entries } = answerOf(rows) as Answer;
    return { at, entries: entries.map(entryOf) };
  }

  async compareAndSet(
    op: Operation,
    swaps: readonly Swap[],
  ): Promise<Stamped & { readonly swapped: boolean; readonly entries: readonly (Entry | undefined)[] }> {
    if (swaps.length === 0) return { at: await this.#db.now(), swapped: true, entries: [] };
    const rows = await this.#db.write<AnswerRow>(
      'select agentmesh.state_swap_v1($1, $2, $3, $4, $5, $6, $7) as answer',
      [
        op.session,
        op.sequence,
        swaps.map(({ key }) => key),
        swaps.map(({ expected }) => expected),
        swaps.map(({ value }) => (value === undefined ? null : JSON.stringify(value))),
        swaps.map(({ expiresInMs }) => expiresInMs ?? null),
        swaps.map(({ session }) => session === true),
      ],
    );
    const { at, swapped, entries } = answerOf(rows) as SwapAnswer;
    if (swapped) this.#db.hint([...new Set(swaps.map(({ key }) => partOf(key)))].map(aboutPart));
    return { at, swapped, entries: entries.map(entryOf) };
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
    const rows = await this.#db.read<AnswerRow>('select agentmesh.state_changes_v1($1, $2, $3) as answer', [
      prefix,
      after,
      limit,
    ]);
    const { at, entries, revision, reset, more } = answerOf(rows) as ChangesAnswer;
    return { at, entries: entries.map((entry) => entryOf(entry) as Entry), revision, reset, more };
  }
}

interface AnswerRow {
  readonly answer: string;
}

function answerOf(rows: readonly AnswerRow[]): unknown {
  return JSON.parse((rows[0] as AnswerRow).answer);
}

function entryOf(found: EntryText | null): Entry | undefined {
  if (found === null) return undefined;
  const { key, value, revision, changedAt } = found;
  return { key, value, revision, changedAt };
}

function aboutPart(prefix: string): { readonly about: 'state'; readonly prefix: string } {
  return { about: 'state', prefix };
}

/** What a hint names: the key up to and with its first `/`. */
function partOf(key: string): string {
  const slash = key.indexOf('/');
  return slash < 0 ? key : key.slice(0, slash + 1);
}
