import { CoordinationError } from '../../core/errors.ts';
import type { Hint } from '../../core/ports/backend.ts';
import type { Runner } from './database.ts';
import { checkClient, type DriverQuery, type PostgresClient, rowsOf } from './driver.ts';
import { type SqlErrors, verdictOf } from './sql-errors.ts';
import type { Statements } from './statements.ts';
import { VALUE_PARSERS } from './value-parsers.ts';

/**
 * Only inside a transaction its time is older than that of the statement. That holds for one message to the server: a prepared statement
 * takes three, each with a time of its own.
 */
const STANDING = `select current_setting('transaction_isolation') as isolation, now() < statement_timestamp() as joined`;

export interface JoinedParts {
  readonly statements: Statements;
  readonly errors: SqlErrors;
  readonly hint: (hints: readonly Hint[], later: boolean) => void;
}

/** Carries out statements inside a transaction of the caller's. */
export class JoinedTransaction implements Runner {
  readonly #client: PostgresClient;
  readonly #parts: JoinedParts;
  readonly #closed: () => CoordinationError | undefined;
  #checked: Promise<void> | undefined;

  constructor(client: PostgresClient, parts: JoinedParts, closed: () => CoordinationError | undefined) {
    this.#client = client;
    this.#parts = parts;
    this.#closed = closed;
  }

  async run(text: string, values: readonly unknown[]): Promise<readonly unknown[]> {
    const closed = this.#closed();
    if (closed !== undefined) throw closed;
    this.#checked ??= this.#check();
    await this.#checked;
    return this.#send(this.#parts.statements.query(text, values));
  }

  join(client: PostgresClient): Runner {
    return new JoinedTransaction(client, this.#parts, this.#closed);
  }

  hint(hints: readonly Hint[]): void {
    if (hints.length > 0) this.#parts.hint(hints, true);
  }

  /** A settle under REPEATABLE READ doesn't see a child that was enqueued meanwhile, which then waits for ever. */
  async #check(): Promise<void> {
    checkClient(this.#client);
    const rows = await this.#send({ text: STANDING, types: VALUE_PARSERS });
    const { isolation, joined } = rows[0] as { readonly isolation: string; readonly joined: boolean };
    if (!joined) {
      throw new CoordinationError('NOT_SUPPORTED', 'The client is not in a transaction', {
        hint: 'Send BEGIN on this client first; a pool is none, it hands each statement to another connection.',
      });
    }
    if (isolation !== 'read committed') {
      throw new CoordinationError('NOT_SUPPORTED', `The transaction runs under ${isolation.toUpperCase()}`, {
        hint: 'Begin it with BEGIN ISOLATION LEVEL READ COMMITTED.',
      });
    }
  }

  async #send(query: DriverQuery): Promise<readonly unknown[]> {
    const { errors } = this.#parts;
    let answer: unknown;
    try {
      answer = await this.#client.query(query);
    } catch (error) {
      // Whatever it was, the transaction is over and its caller has to begin again: nothing of it is unknown.
      throw verdictOf(error) === 'connection' ? errors.unavailable(error) : errors.refusal(error);
    }
    return rowsOf(answer, 'the client', 'INVALID_ARGUMENT');
  }
}
