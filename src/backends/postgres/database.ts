import type { Hint } from '../../core/ports/backend.ts';
import type { BackendTime } from '../../core/ports/words.ts';
import type { PostgresClient } from './driver.ts';

/** What carries out statements: the pool, or a transaction of the caller's. */
export interface Runner {
  /** @param mutates whether a lost answer leaves its outcome unknown */
  run(text: string, values: readonly unknown[], mutates: boolean): Promise<readonly unknown[]>;
  /** The same statements on the caller's client. */
  join(client: PostgresClient): Runner;
  hint(hints: readonly Hint[]): void;
}

/**
 * The one way of all ports to the server. Texts name the mesh's schema as `agentmesh.`; each call is one statement, and so one trip and
 * one transaction. bigint columns come back as numbers.
 *
 * All calls reject with STOPPED, SESSION_EXPIRED, SCHEMA_MISMATCH, NOT_SUPPORTED, STALE_FENCE as the statement says.
 */
export class Database {
  readonly #runner: Runner;

  constructor(runner: Runner) {
    this.#runner = runner;
  }

  /** Asks without changing anything; a lost connection is replaced and the question repeated. @throws BACKEND_UNAVAILABLE */
  read<R>(text: string, values: readonly unknown[] = []): Promise<R[]> {
    return this.#runner.run(text, values, false) as Promise<R[]>;
  }

  /** The backend's time. @throws as {@link read} */
  async now(): Promise<BackendTime> {
    const [row] = await this.read<{ readonly at: BackendTime }>('select agentmesh.now_us() as at');
    return (row as NonNullable<typeof row>).at;
  }

  /**
   * Changes something. What the server undid because of a deadlock or a crossing write is repeated, at most 5 times.
   * @throws BACKEND_UNAVAILABLE (nothing was changed), OUTCOME_UNKNOWN (sent, and the answer lost or too late)
   */
  write<R>(text: string, values: readonly unknown[] = []): Promise<R[]> {
    return this.#runner.run(text, values, true) as Promise<R[]>;
  }

  /**
   * The same database on a client of the caller's that is inside a READ COMMITTED transaction. Its statements are neither repeated nor
   * limited in time; its hints are given a little later, since nobody says when the caller commits.
   */
  within(client: PostgresClient): Database {
    return new Database(this.#runner.join(client));
  }

  /**
   * Tells whoever is interested, in this process at once, in others by one coalesced NOTIFY on a connection of its own. To be called after
   * the statement was answered: a NOTIFY inside of a writing transaction would make all commits queue for one lock.
   */
  hint(hints: readonly Hint[]): void {
    this.#runner.hint(hints);
  }
}
