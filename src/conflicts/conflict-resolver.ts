import { isPromise } from '../core/awaitable.ts';
import { checkArray, checkId, checkInteger, checkMs, invalid } from '../core/check.ts';
import type { ConflictKind, ConflictRecord, Resolution } from '../core/coordination-types.ts';
import { CoordinationError, describe, isCoordinationError } from '../core/errors.ts';
import { silentSink, type EventSink } from '../core/events.ts';
import type { Logger, Runtime } from '../core/ports/runtime.ts';
import type { Awaitable } from '../core/ports/words.ts';
import { guardedLogger } from '../core/runtime/guarded-logger.ts';
import { createRuntime } from '../core/runtime/runtime.ts';
import { autoOrder, neverGuessing } from './auto-order.ts';
import {
  ConflictBook,
  type ConflictEntry,
  type ConflictStats,
  type ResolvedConflict,
} from './conflict-book.ts';
import { addFacts, checkFacts, type ConflictFacts } from './conflict-facts.ts';
import { defineConflictStrategy, type ConflictStrategy } from './conflict-strategy.ts';
import { judge, type Verdict } from './decision.ts';
import { MergeStrategy } from './strategies/merge-strategy.ts';
import { OptimisticVersionStrategy } from './strategies/optimistic-version-strategy.ts';
import { PriorityResolutionStrategy } from './strategies/priority-resolution-strategy.ts';
import { TimestampResolutionStrategy } from './strategies/timestamp-resolution-strategy.ts';
import { VotingResolutionStrategy } from './strategies/voting-resolution-strategy.ts';

/** What a manager hands in. */
export interface ConflictResolverParts {
  readonly runtime?: Runtime | undefined;
  /** Reads what is really known about a conflict: priorities of its agents, times of their requests, versions, contents. */
  readonly facts?: ((conflict: ConflictRecord) => Awaitable<ConflictFacts>) | undefined;
  /**
   * Moves the lock or the task that a resolution speaks of; without it resolutions are recorded only. A throw leaves the conflict open. May
   * be called again for the same conflict.
   */
  readonly apply?: ((resolution: Resolution, conflict: ConflictRecord) => Awaitable<void>) | undefined;
  /** How long a strategy, `facts` or `apply` may take, ms. @default 30,000 */
  readonly timeoutMs?: number | undefined;
  /** Settled conflicts that are kept. @default 1,000 */
  readonly historySize?: number | undefined;
}

const TASK_KINDS = ['assignment', 'dependency', 'output'] as const;

/**
 * Conflicts between agents over a resource, a task or a version, and how they ended. A conflict is resolved once: when a strategy has named
 * a winner from known facts and the resolution has been applied. Until then it stays open, whatever goes wrong.
 */
export class ConflictResolver {
  readonly #logger: Logger;
  readonly #events: EventSink;
  readonly #runtime: Runtime;
  readonly #parts: ConflictResolverParts;
  readonly #timeoutMs: number;
  readonly #book: ConflictBook;
  /** How those who wait for a user's function are sent away. */
  readonly #stops = new Set<() => void>();
  #isStopped = false;
  readonly #strategies = new Map<string, ConflictStrategy>();

  constructor(logger?: Logger, events: EventSink = silentSink, parts: ConflictResolverParts = {}) {
    this.#events = events;
    this.#runtime = parts.runtime ?? createRuntime({ logger });
    this.#logger = logger === undefined ? this.#runtime.logger : guardedLogger(logger);
    this.#parts = parts;
    this.#timeoutMs = checkMs(parts.timeoutMs ?? 30_000, 'timeoutMs');
    this.#book = new ConflictBook(checkInteger(parts.historySize ?? 1_000, 'historySize', 1));
    const builtIn = [
      new PriorityResolutionStrategy(),
      new TimestampResolutionStrategy(),
      new VotingResolutionStrategy(),
      new OptimisticVersionStrategy(),
      new MergeStrategy(),
    ];
    for (const strategy of builtIn) this.registerStrategy(strategy);
  }

  /** Adds a strategy; one of the same name, built-in or not, is replaced. @throws INVALID_ARGUMENT */
  registerStrategy(strategy: ConflictStrategy): void {
    this.#strategies.set(defineConflictStrategy(strategy).name, strategy);
  }

  /**
   * Two or more agents want one resource. Reporting the same conflict again while it is open gives the same record; new facts are added.
   * @throws INVALID_ARGUMENT, also for fewer than two different agents.
   */
  async reportResourceConflict(
    resource: string,
    agents: readonly string[],
    facts: ConflictFacts = {},
  ): Promise<ConflictRecord> {
    return this.#report('resource', resource, agents, facts);
  }

  /** Two or more agents were given one task, disagree on its dependencies, or made different outputs. @throws as {@link reportResourceConflict} */
  async reportTaskConflict(
    taskId: string,
    agents: readonly string[],
    kind: 'assignment' | 'dependency' | 'output',
    facts: ConflictFacts = {},
  ): Promise<ConflictRecord> {
    if (!TASK_KINDS.includes(kind))
      throw invalid(
        `Expected the kind of a task conflict to be one of ${TASK_KINDS.join(', ')}, got ${describe(kind)}`,
      );
    return this.#report(kind, taskId, agents, facts);
  }

  /** Two or more agents changed the same version of something. @throws as {@link reportResourceConflict} */
  async reportVersionConflict(
    resource: string,
    agents: readonly string[],
    facts: ConflictFacts = {},
  ): Promise<ConflictRecord> {
    return this.#report('version', resource, agents, facts);
  }

  /**
   * Resolves a conflict by a strategy, from these facts and those reported with it, and applies the resolution. A conflict that the same
   * strategy resolved before gives that resolution again.
   * @throws UNKNOWN_CONFLICT, UNKNOWN_STRATEGY, INVALID_ARGUMENT; CONFLICT_RESOLVED when another strategy was first; CONFLICT_ESCALATED when
   * the facts don't suffice; CONFLICT_UNRESOLVED when the strategy broke or the resolution couldn't be applied. It stays open in the last two.
   */
  async resolveConflict(
    conflictId: string,
    strategy: string,
    facts: ConflictFacts = {},
  ): Promise<Resolution> {
    const chosen = this.#strategy(strategy);
    const entry = this.#find(conflictId);
    const given = checkFacts(facts, entry.record.agents);
    return this.#once(entry, strategy, () => this.#resolve(entry, [chosen], { ...entry.facts, ...given }));
  }

  /**
   * Resolves a conflict from the facts that were reported and those that the mesh itself knows, by this strategy or by the first that they
   * suffice for: merge, vote, optimistic-version, priority, timestamp. Never guesses: a version, a priority or a time decides only when it
   * is known of every agent.
   * @throws as {@link resolveConflict}; CONFLICT_ESCALATED, and the event `conflict:escalated`, when nothing known decides it.
   */
  async autoResolve(conflictId: string, strategy?: string): Promise<Resolution> {
    const chosen = strategy === undefined ? undefined : this.#strategy(strategy);
    const entry = this.#find(conflictId);
    return this.#once(entry, strategy, async () => {
      const facts = addFacts(await this.#knownFacts(entry), entry.facts);
      const order =
        chosen === undefined
          ? autoOrder(entry.record.agents, facts).map((name) => this.#strategy(name))
          : [chosen];
      return this.#resolve(entry, order.map(neverGuessing), facts);
    });
  }

  /** Conflicts that aren't resolved, the oldest first. */
  getActiveConflicts(): readonly ConflictRecord[] {
    return this.#book.active();
  }

  /** Resolved conflicts, the newest first. @param limit default: all that are kept */
  getConflictHistory(limit: number = Number.MAX_SAFE_INTEGER): readonly ResolvedConflict[] {
    return this.#book.history(checkInteger(limit, 'limit', 1));
  }

  /** Forgets conflicts that were resolved at least this long ago; open ones stay. @returns how many. */
  cleanupOldConflicts(maxAgeMs: number): number {
    return this.#book.forget(this.#runtime.clock.mono() - checkMs(maxAgeMs, 'maxAgeMs'));
  }

  /** What a user's function is being waited for is waited for no more: those who asked hear STOPPED. Idempotent. */
  stop(): void {
    this.#isStopped = true;
    for (const stop of [...this.#stops]) stop();
  }

  getStats(): ConflictStats {
    return this.#book.stats();
  }

  #report(
    kind: ConflictKind,
    subject: string,
    agents: readonly string[],
    facts: ConflictFacts,
  ): ConflictRecord {
    checkId(subject, kind === 'resource' || kind === 'version' ? 'the id of a resource' : 'the id of a task');
    const parties = checkAgents(agents);
    const known = checkFacts(facts, parties);
    const key = JSON.stringify([kind, subject, ...parties.toSorted()]);
    const open = this.#book.findOpen(key);
    if (open !== undefined) {
      open.facts = { ...open.facts, ...known };
      return open.record;
    }
    const { clock, ids } = this.#runtime;
    const record: ConflictRecord = Object.freeze({
      id: ids.next(),
      kind,
      subject,
      agents: parties,
      at: clock.wall(),
      resolved: false,
    });
    this.#book.open(record, key, known, clock.mono());
    this.#logger.debug('conflict reported', record);
    if (this.#events.wants('conflict:reported'))
      this.#events.emit('conflict:reported', { conflictId: record.id, kind, subject, agents: parties });
    return record;
  }

  /** One attempt after the other, so that nothing is applied twice; a later one sees what an earlier one decided. */
  async #once(
    entry: ConflictEntry,
    strategy: string | undefined,
    attempt: () => Promise<Resolution>,
  ): Promise<Resolution> {
    while (entry.attempt !== undefined) await entry.attempt;
    const { resolution } = entry;
    if (resolution !== undefined) {
      if (strategy === undefined || strategy === resolution.type) return resolution;
      throw new CoordinationError(
        'CONFLICT_RESOLVED',
        `Conflict ${entry.record.id} was resolved before: ${resolution.winner} won by ${resolution.type}`,
      );
    }
    const running = attempt();
    entry.attempt = running.then(
      () => undefined,
      () => undefined,
    );
    try {
      return await running;
    } finally {
      entry.attempt = undefined;
    }
  }

  async #resolve(
    entry: ConflictEntry,
    strategies: readonly ConflictStrategy[],
    facts: ConflictFacts,
  ): Promise<Resolution> {
    const verdict = await this.#decide(entry.record, strategies, facts);
    if ('escalate' in verdict) throw this.#escalated(entry.record, verdict.escalate, strategies);
    const { resolution } = verdict;
    try {
      await this.#bounded(this.#parts.apply?.(resolution, entry.record), 'applying the resolution');
    } catch (error) {
      throw this.#unresolved(`The resolution of conflict ${entry.record.id} could not be applied`, error);
    }
    this.#book.settle(entry, resolution, this.#runtime.clock.mono());
    this.#logger.debug('conflict resolved', resolution);
    if (this.#events.wants('conflict:resolved'))
      this.#events.emit('conflict:resolved', { conflict: entry.record, resolution });
    return resolution;
  }

  /** Asks the strategies in turn. When there are several, one that breaks is reported and the next decides. */
  async #decide(
    conflict: ConflictRecord,
    strategies: readonly ConflictStrategy[],
    facts: ConflictFacts,
  ): Promise<Verdict> {
    const reasons: string[] = [];
    for (const strategy of strategies) {
      const { name } = strategy;
      try {
        const decision = await this.#bounded(strategy.resolve(conflict, facts), `strategy ${name}`);
        const verdict = judge(conflict, name, decision, this.#runtime.clock.wall());
        if ('resolution' in verdict) return verdict;
        reasons.push(verdict.escalate);
      } catch (error) {
        if (strategies.length === 1)
          throw this.#unresolved(`Strategy ${name} failed on conflict ${conflict.id}`, error);
        reasons.push(`${name} failed`);
        if (this.#events.wants('strategy:failed'))
          this.#events.emit('strategy:failed', { strategy: name, message: messageOf(error) });
      }
    }
    return { escalate: reasons.join('; ') || 'nothing is known that could decide it' };
  }

  async #knownFacts({ record }: ConflictEntry): Promise<ConflictFacts> {
    const read = this.#parts.facts;
    if (read === undefined) return {};
    try {
      return checkFacts(await this.#bounded(read(record), 'reading the facts'), record.agents);
    } catch (error) {
      throw this.#unresolved(`The facts of conflict ${record.id} could not be read`, error);
    }
  }

  /** Whatever a user's function does, an attempt ends. */
  #bounded<T>(answer: Awaitable<T>, what: string): Awaitable<T> {
    if (!isPromise(answer)) return answer;
    if (this.#isStopped) return Promise.reject(stopped(what));
    return new Promise((resolve, reject) => {
      const end = (): void => {
        timer.cancel();
        this.#stops.delete(stop);
      };
      const late = (): void => {
        end();
        reject(new CoordinationError('TIMEOUT', `${what} took longer than ${this.#timeoutMs} ms`));
      };
      const timer = this.#runtime.clock.after(this.#timeoutMs, late, true);
      const stop = (): void => {
        end();
        reject(stopped(what));
      };
      this.#stops.add(stop);
      Promise.resolve(answer).then(resolve, reject).finally(end);
    });
  }

  #escalated(
    conflict: ConflictRecord,
    reason: string,
    strategies: readonly ConflictStrategy[],
  ): CoordinationError {
    this.#book.escalated += 1;
    this.#logger.warn('conflict escalated', { conflictId: conflict.id, reason });
    if (this.#events.wants('conflict:escalated'))
      this.#events.emit('conflict:escalated', { conflictId: conflict.id, reason });
    return new CoordinationError('CONFLICT_ESCALATED', `Conflict ${conflict.id} is not decided: ${reason}`, {
      hint: hintFor(strategies),
    });
  }

  #unresolved(message: string, cause: unknown): CoordinationError {
    if (isCoordinationError(cause, 'STOPPED')) return cause;
    this.#book.failed += 1;
    return new CoordinationError('CONFLICT_UNRESOLVED', `${message}: ${messageOf(cause)}`, {
      cause,
      hint: 'The conflict stays open: remove the cause and resolve it again.',
    });
  }

  #strategy(name: string): ConflictStrategy {
    const strategy = this.#strategies.get(checkId(name, 'the name of a conflict strategy'));
    if (strategy !== undefined) return strategy;
    throw new CoordinationError('UNKNOWN_STRATEGY', `No conflict strategy is called ${name}`, {
      hint: `Known are: ${[...this.#strategies.keys()].join(', ')}.`,
    });
  }

  #find(conflictId: string): ConflictEntry {
    const entry = this.#book.find(checkId(conflictId, 'the id of a conflict'));
    if (entry !== undefined) return entry;
    throw new CoordinationError('UNKNOWN_CONFLICT', `No conflict has the id ${conflictId}`);
  }
}

/** What each built-in strategy decides from; Maps have agent ids as keys. */
const FACTS: ReadonlyMap<string, string> = new Map([
  ['priority', '{ agentPriorities: Map }'],
  ['timestamp', '{ requestTimestamps: Map }'],
  ['vote', '{ votes: Map }'],
  ['optimistic-version', '{ versions: Map, currentVersion }'],
  ['merge', '{ contents: { base, theirs: Map } }'],
]);

function hintFor(strategies: readonly ConflictStrategy[]): string {
  const [only] = strategies;
  const facts = strategies.length === 1 && only !== undefined ? FACTS.get(only.name) : undefined;
  if (facts === undefined) return 'It stays open: call resolveConflict with the facts that are missing.';
  return `It stays open: ${only?.name} decides from ${facts}, given to resolveConflict.`;
}

/** The agents without repetition, in order. */
function checkAgents(agents: readonly string[]): readonly string[] {
  const given = checkArray(agents, 'agents');
  const parties = [...new Set(given.map((agent) => checkId(agent, 'the id of an agent')))];
  if (parties.length < 2) throw invalid(`Expected at least two different agents, got ${parties.length}`);
  return Object.freeze(parties);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? String(error.message) : describe(error);
}

function stopped(what: string): CoordinationError {
  return new CoordinationError('STOPPED', `The mesh was shut down before ${what} was done`);
}
