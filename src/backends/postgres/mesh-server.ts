import { CoordinationError, isCoordinationError } from '../../core/errors.ts';
import type { BackendReport, Hint } from '../../core/ports/backend.ts';
import type { Runtime } from '../../core/ports/runtime.ts';
import type { BackendTime } from '../../core/ports/words.ts';
import { systemClock } from '../../core/runtime/runtime.ts';
import { Connections } from './connections.ts';
import { Database } from './database.ts';
import { dial, type Dialled } from './dial.ts';
import { connectionOf, type PooledClient } from './driver.ts';
import { HintChannel } from './hint-channel.ts';
import { HintListeners } from '../../core/hint-listeners.ts';
import { type MigrationReport, Migrator, newerSchema, type SchemaLevel } from './migrator.ts';
import { type PostgresSettings, secretsOf } from './options.ts';
import type { Migration } from './schema/migrations.ts';
import { SqlErrors, sqlStateOf } from './sql-errors.ts';
import {
  durabilityOf,
  inspectServer,
  isReplica,
  obstaclesIn,
  type Problem,
  problemsOf,
  type ServerFacts,
} from './start-checks.ts';
import { inSchema, Statements } from './statements.ts';
import { VALUE_PARSERS } from './value-parsers.ts';

/** A notification writes a commit of its own: nobody has to wait until that is on disk, least of all the commits beside it. */
const NOTIFY = `select pg_notify($1, payload), set_config('synchronous_commit', 'off', true) from unnest($2::text[]) as payload`;

const OLDEST_WRITER = 'select oldest_writer as oldest from agentmesh.meta';

/** A question that a healthy server answers at once, ms. */
const CHECK_MS = 2_000;

/** What this build knows of the schema. */
export interface Build {
  readonly migrations: readonly Migration[];
  readonly writer: number;
}

/** One mesh on one server: its connections, its schema, its hints. */
export class MeshServer {
  readonly database: Database;
  readonly #settings: PostgresSettings;
  readonly #build: Build;
  readonly #errors: SqlErrors;
  readonly #connections: Connections;
  readonly #listeners = new HintListeners();
  readonly #users = new Set<Runtime>();
  #stops = 0;
  #started: Promise<BackendReport> | undefined;
  #dialled: Dialled | undefined;
  #channel: HintChannel | undefined;
  #stopping: Promise<void> | undefined;

  constructor(settings: PostgresSettings, build: Build) {
    this.#settings = settings;
    this.#build = build;
    this.#errors = new SqlErrors(secretsOf(settings));
    this.#connections = new Connections({
      statements: new Statements(settings.schema, settings.prepare),
      errors: this.#errors,
      connectTimeoutMs: settings.connectTimeoutMs,
      commandTimeoutMs: settings.commandTimeoutMs,
      hint: (hints, later) => this.#channel?.send(hints, later),
    });
    this.database = new Database(this.#connections);
  }

  /** Managers that share a backend each start and stop it; it stops with the last. */
  async start(runtime: Runtime, allowed: readonly string[] = []): Promise<BackendReport> {
    await this.#stopping;
    // Whoever comes back had stopped before.
    if (this.#users.has(runtime) && this.#stops > 0) this.#stops -= 1;
    this.#users.add(runtime);
    this.#started ??= this.#begin(runtime, allowed);
    try {
      return await this.#started;
    } catch (error) {
      this.#users.clear();
      this.#started = undefined;
      throw error;
    }
  }

  async stop(): Promise<void> {
    this.#stops += 1;
    if (this.#stops < this.#users.size) return;
    this.#stops = 0;
    this.#users.clear();
    this.#stopping ??= this.#end().finally(() => {
      this.#stopping = undefined;
    });
    await this.#stopping;
  }

  async check(): Promise<{ readonly healthy: boolean; readonly detail?: string }> {
    if (!this.#connections.isOpen) return { healthy: false, detail: 'stopped' };
    try {
      await this.#within(this.#checkLevel(), CHECK_MS);
      return { healthy: true };
    } catch (error) {
      const text = this.#errors.textOf(error);
      return {
        healthy: false,
        detail: isCoordinationError(error, 'SCHEMA_MISMATCH') ? `${error.code}: ${text}` : text,
      };
    }
  }

  onHint(interest: readonly Hint[], listener: (hint: Hint) => void): Disposable {
    return this.#listeners.on(interest, listener);
  }

  /** @throws SCHEMA_MISMATCH when the schema is newer, or while older builds live; NOT_SUPPORTED when the encoding is another, or the server too old */
  async migrate(allowed: readonly string[] = []): Promise<MigrationReport> {
    const dialled = this.#dialled ?? (await dial(this.#settings));
    let client: PooledClient | undefined;
    let broken = true;
    try {
      client = await connectionOf(dialled.pool);
      // A step may take as long as it takes; a connection that is dead shows at once.
      const facts = await this.#within(inspectServer(client), this.#settings.commandTimeoutMs);
      broken = false;
      const obstacle = obstacleIn(facts, allowed);
      if (obstacle !== undefined) {
        const { message, hint } = obstacle;
        throw new CoordinationError('NOT_SUPPORTED', message, { hint, retryable: false });
      }
      const report = await this.#migrator(client).run({ announce: true });
      if (report.waiting !== undefined) throw stillWritten(report.waiting);
      return report;
    } catch (error) {
      throw this.#mapped(error);
    } finally {
      client?.release(broken);
      if (dialled !== this.#dialled) await dialled.end();
    }
  }

  /** The schema may have been dropped, or brought to a level that asks for newer builds. @throws SCHEMA_MISMATCH */
  async #checkLevel(): Promise<void> {
    const [meta] = await this.database.read<{ readonly oldest: number }>(OLDEST_WRITER);
    const { writer } = this.#build;
    if (meta !== undefined && meta.oldest <= writer) return;
    throw new CoordinationError(
      'SCHEMA_MISMATCH',
      `The schema ${this.#settings.schema} asks for writers of level ${meta?.oldest}, this build is of level ${writer}`,
    );
  }

  async #begin(runtime: Runtime, allowed: readonly string[]): Promise<BackendReport> {
    const { connectTimeoutMs } = this.#settings;
    const dialled = await dial(this.#settings);
    let giveBack: ((broken: boolean) => void) | undefined;
    const preparing = this.#prepare(dialled, runtime, allowed, (release) => {
      giveBack = release;
    });
    try {
      const report = await this.#within(preparing, connectTimeoutMs);
      this.#dialled = dialled;
      return report;
    } catch (error) {
      preparing.catch(() => undefined);
      this.#connections.close(this.#owns);
      this.#channel?.stop();
      this.#channel = undefined;
      // A server that answers nothing doesn't say goodbye either.
      giveBack?.(true);
      dialled.end().catch(() => undefined);
      throw this.#mapped(error);
    }
  }

  /** @param taken gets what gives the connection back, which is done here once the server answers, and once only */
  async #prepare(
    dialled: Dialled,
    runtime: Runtime,
    allowed: readonly string[],
    taken: (release: (broken: boolean) => void) => void,
  ): Promise<BackendReport> {
    const client = await connectionOf(dialled.pool);
    let broken = true;
    let given = false;
    const giveBack = (destroy: boolean): void => {
      if (!given) client.release(destroy);
      given = true;
    };
    taken(giveBack);
    try {
      const facts = await inspectServer(client);
      const problems = problemsOf(facts, runtime.clock.wall());
      const level = await this.#bringUp(client, facts, problems, obstacleIn(facts, allowed) === undefined);
      const at = level.version === 0 ? facts.wallMs * 1_000 : await this.#now(client);
      const channel = await this.#channelName(client);
      broken = false;
      this.#connections.open(dialled.pool, runtime);
      await this.#listen(dialled, runtime, channel);
      return {
        at: Math.floor(at) as BackendTime,
        durability: durabilityOf(facts),
        server: `PostgreSQL ${facts.version}`,
        schema: level,
        problems,
      };
    } finally {
      giveBack(broken);
    }
  }

  /** Creates or migrates the schema, or sees that it needn't be. Adds what is odd about it to `problems`. */
  async #bringUp(
    client: PooledClient,
    facts: ServerFacts,
    problems: Problem[],
    mayWrite: boolean,
  ): Promise<SchemaLevel> {
    const { migrations, writer } = this.#build;
    const migrator = this.#migrator(client);
    let level = await migrator.level();
    if (isReplica(facts)) return level;
    // Such a server is refused.
    if (level.version === 0 && !mayWrite) return level;
    const newest = migrations.at(-1)?.version ?? 0;
    if (level.version > newest) {
      if (level.oldestWriter > writer) throw newerSchema(level.version, newest);
      problems.push({
        code: 'SCHEMA_NEWER',
        severity: 'warn',
        message: `The schema is at version ${level.version}, this build knows versions up to ${newest}`,
        hint: 'It may still write. Upgrade it before the next contract step.',
      });
      return level;
    }
    if (this.#settings.migrate === 'auto' && level.version < newest && mayWrite) {
      const { version, oldestWriter, waiting } = await migrator
        .run({ announce: false })
        .catch((error: unknown) => this.#mayNotMigrate(error));
      level = { version, oldestWriter };
      if (waiting !== undefined) problems.push(pendingStep(waiting));
    }
    const needed = migrations.findLast(({ kind }) => kind === 'expand')?.version ?? 0;
    if (level.version < needed) {
      throw new CoordinationError(
        'SCHEMA_MISMATCH',
        `The schema ${this.#settings.schema} is at version ${level.version}, this build needs version ${needed}`,
        { hint: 'Run `migrate()` of this backend.' },
      );
    }
    return level;
  }

  #mayNotMigrate(error: unknown): never {
    if (sqlStateOf(error) !== '42501') throw error;
    const { code, message } = this.#errors.refusal(error);
    throw new CoordinationError(code, message, {
      hint: 'Run `migrate()` once with a backend whose role owns the schema or may create it, before the others start.',
      retryable: false,
    });
  }

  async #listen(dialled: Dialled, runtime: Runtime, channel: string): Promise<void> {
    const { listen, commandTimeoutMs } = this.#settings;
    this.#channel = new HintChannel({
      runtime,
      listeners: this.#listeners,
      commandTimeoutMs,
      connect: listen ? dialled.listener : undefined,
      notify: (name, payloads) => this.database.read(NOTIFY, [name, payloads]),
      onState: (listening, reason) => {
        if (listening) runtime.logger.info('PostgreSQL: listening for hints again');
        else {
          const why = this.#errors.strip(reason ?? '');
          runtime.logger.warn('PostgreSQL: the connection for hints is lost; waits poll until it is back', {
            reason: why,
          });
        }
      },
    });
    await this.#channel.start(channel);
  }

  async #end(): Promise<void> {
    this.#started = undefined;
    this.#connections.close(this.#owns);
    this.#channel?.stop();
    this.#channel = undefined;
    const dialled = this.#dialled;
    this.#dialled = undefined;
    await dialled?.end().catch(() => undefined);
  }

  get #owns(): boolean {
    return this.#settings.source.kind !== 'pool';
  }

  #migrator(client: PooledClient): Migrator {
    return new Migrator(client, this.#settings.schema, this.#build.migrations);
  }

  /** Names of channels are cut at 63 bytes, so that two long ones could be one. */
  async #channelName(client: PooledClient): Promise<string> {
    const { rows } = await client.query({ text: `select 'am_' || md5('${this.#settings.schema}') as name` });
    return (rows[0] as { readonly name: string }).name;
  }

  async #now(client: PooledClient): Promise<number> {
    const text = inSchema('select agentmesh.now_us() as at', this.#settings.schema);
    const { rows } = await client.query({ text, types: VALUE_PARSERS });
    return (rows[0] as { readonly at: number }).at;
  }

  #within<T>(promise: Promise<T>, limitMs: number): Promise<T> {
    const [runtime] = this.#users;
    const clock = runtime?.clock ?? systemClock();
    return new Promise((resolve, reject) => {
      const timer = clock.after(
        limitMs,
        () => reject(this.#errors.unavailable(new Error(`no answer within ${limitMs} ms`))),
        true,
      );
      promise.then(resolve, reject).finally(() => timer.cancel());
    });
  }

  #mapped(error: unknown): unknown {
    if (error instanceof CoordinationError) return error;
    return sqlStateOf(error) === undefined ? this.#errors.unavailable(error) : this.#errors.refusal(error);
  }
}

/** Why no schema may be made in this database. */
function obstacleIn(facts: ServerFacts, allowed: readonly string[]): Problem | undefined {
  return obstaclesIn(facts).find(({ code }) => !allowed.includes(code));
}

function pendingStep({ version, writers }: { readonly version: number; readonly writers: number }): Problem {
  return {
    code: 'CONTRACT_PENDING',
    severity: 'warn',
    message: `Version ${version} of the schema waits for ${writers} live sessions of older builds`,
    hint: 'Replace them, or tell them to leave with `migrate()`.',
  };
}

function stillWritten({
  version,
  writers,
}: {
  readonly version: number;
  readonly writers: number;
}): CoordinationError {
  return new CoordinationError(
    'SCHEMA_MISMATCH',
    `Version ${version} of the schema has to wait: ${writers} live sessions are of older builds`,
    { hint: 'They have been told to leave; repeat `migrate()` when they have.', retryAfterMs: 10_000 },
  );
}
