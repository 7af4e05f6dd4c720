import { CoordinationError } from '../../core/errors.ts';
import type { Hint } from '../../core/ports/backend.ts';
import type { Runtime } from '../../core/ports/runtime.ts';
import type { Runner } from './database.ts';
import type { DriverQuery, DriverResult, PooledClient, PostgresClient, PostgresPool } from './driver.ts';
import { type SqlErrors, verdictOf } from './sql-errors.ts';
import type { Statements } from './statements.ts';
import { JoinedTransaction } from './joined-transaction.ts';

/** Times that a statement is sent again because the server undid it, or because nothing had reached it. */
const UNDONE_AGAIN = 5;
const UNREACHED_AGAIN = 4;
/** What took longer than this is not tried again, ms: the caller shall know quickly that nobody answers. */
const QUICK_MS = 500;
/** Longest pause before the next try, ms; grows with each. */
const PAUSE_MS = 20;

export interface ConnectionsParts {
  readonly statements: Statements;
  readonly errors: SqlErrors;
  readonly connectTimeoutMs: number;
  readonly commandTimeoutMs: number;
  /** Hands hints on; the transactions of callers say true, for they commit later. */
  readonly hint: (hints: readonly Hint[], later: boolean) => void;
}

/** A failure of one try. */
interface Failure {
  readonly error: unknown;
  /** Whether the statement may have reached the server. */
  readonly sent: boolean;
}

/** Carries out statements on the connections of a pool: with a time limit for each, and again where that is safe. */
export class Connections implements Runner {
  readonly #parts: ConnectionsParts;
  readonly #pending = new Set<(error: CoordinationError) => void>();
  /** Taken out of the pool now. */
  readonly #out = new Set<PooledClient>();
  #pool: PostgresPool | undefined;
  #runtime: Runtime | undefined;
  #closed: CoordinationError | undefined;

  constructor(parts: ConnectionsParts) {
    this.#parts = parts;
  }

  open(pool: PostgresPool, runtime: Runtime): void {
    this.#pool = pool;
    this.#runtime = runtime;
    this.#closed = undefined;
  }

  /**
   * Rejects what is under way and what comes. The pool is left to whoever made it.
   * @param destroy whether to close the connections that are at work; else each goes back when its answer has come
   */
  close(destroy: boolean): void {
    const closed = new CoordinationError('STOPPED', 'The PostgreSQL backend is stopped');
    this.#closed = closed;
    this.#pool = undefined;
    for (const reject of this.#pending) reject(closed);
    this.#pending.clear();
    if (destroy) for (const client of this.#out) this.#giveBack(client, true);
  }

  get isOpen(): boolean {
    return this.#pool !== undefined;
  }

  run(text: string, values: readonly unknown[], mutates: boolean): Promise<readonly unknown[]> {
    if (this.#pool === undefined) return Promise.reject(this.#closed ?? notStarted());
    return new Promise((resolve, reject) => {
      this.#pending.add(reject);
      this.#repeat(text, values, mutates).then(
        (rows) => {
          this.#pending.delete(reject);
          resolve(rows);
        },
        (error: unknown) => {
          this.#pending.delete(reject);
          reject(this.#closed ?? error);
        },
      );
    });
  }

  join(client: PostgresClient): Runner {
    return new JoinedTransaction(client, this.#parts, () => this.#closed);
  }

  hint(hints: readonly Hint[]): void {
    if (hints.length > 0) this.#parts.hint(hints, false);
  }

  async #repeat(text: string, values: readonly unknown[], mutates: boolean): Promise<readonly unknown[]> {
    const { errors, statements } = this.#parts;
    const { clock } = this.#runtime as Runtime;
    const giveUpAt = clock.mono() + QUICK_MS;
    let undone = 0;
    let unreached = 0;
    for (;;) {
      const tried = await this.#attempt(statements.query(text, values));
      if (!('error' in tried)) return tried.rows;
      const { error, sent } = tried;
      const verdict = verdictOf(error);
      if (verdict === 'unprepared' && statements.prepares) statements.stopPreparing();
      else if (verdict === 'stale-plan' && unreached < UNREACHED_AGAIN) unreached += 1;
      else if (verdict === 'again' && undone < UNDONE_AGAIN) await this.#pause(++undone);
      else if (verdict !== 'connection') throw errors.refusal(error);
      else if (mutates && sent) throw errors.unknown(error);
      else if (clock.mono() > giveUpAt || unreached >= UNREACHED_AGAIN) throw errors.unavailable(error);
      else await this.#pause(++unreached);
    }
  }

  async #attempt(query: DriverQuery): Promise<DriverResult | Failure> {
    let client: PooledClient;
    try {
      client = await this.#checkOut();
    } catch (error) {
      if (error === this.#closed) throw error;
      return { error, sent: false };
    }
    const { commandTimeoutMs } = this.#parts;
    this.#out.add(client);
    try {
      const answer = await this.#inTime(client.query(query), commandTimeoutMs, 'answer');
      this.#giveBack(client, false);
      return answer;
    } catch (error) {
      const verdict = verdictOf(error);
      this.#giveBack(client, verdict === 'connection' || verdict === 'stale-plan');
      // A read-only server said so before it changed anything.
      const sent = (error as { readonly code?: unknown }).code !== '25006';
      return { error, sent };
    }
  }

  #giveBack(client: PooledClient, destroy: boolean): void {
    if (this.#out.delete(client)) client.release(destroy);
  }

  async #checkOut(): Promise<PooledClient> {
    const pool = this.#pool;
    if (pool === undefined) throw this.#closed ?? notStarted();
    const arriving = pool.connect();
    try {
      return await this.#inTime(arriving, this.#parts.connectTimeoutMs, 'connection');
    } catch (error) {
      // It may still come: then it goes back at once.
      arriving.then(
        (client) => client.release(),
        () => undefined,
      );
      throw error;
    }
  }

  #inTime<T>(promise: Promise<T>, limitMs: number, what: string): Promise<T> {
    const { clock } = this.#runtime as Runtime;
    return new Promise((resolve, reject) => {
      const timer = clock.after(limitMs, () => reject(new Error(`no ${what} within ${limitMs} ms`)), true);
      promise.then(
        (value) => {
          timer.cancel();
          resolve(value);
        },
        (error: unknown) => {
          timer.cancel();
          reject(error);
        },
      );
    });
  }

  #pause(times: number): Promise<void> {
    const { clock, random } = this.#runtime as Runtime;
    return new Promise((resolve) => {
      clock.after(random.next() * PAUSE_MS * times, resolve, true);
    });
  }
}

function notStarted(): CoordinationError {
  return new CoordinationError('NOT_STARTED', 'The PostgreSQL backend is not started', {
    hint: 'Call its start first; a manager does so in initialize().',
  });
}
