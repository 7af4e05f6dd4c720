import type { ConflictKind, ConflictRecord, Resolution } from '../core/coordination-types.ts';
import type { ConflictFacts } from './conflict-facts.ts';

/** A conflict as the book keeps it. */
export interface ConflictEntry {
  /** Replaced when it is resolved. */
  record: ConflictRecord;
  readonly key: string;
  readonly reportedAt: number;
  /** What its reporters knew. */
  facts: ConflictFacts;
  resolution: Resolution | undefined;
  resolvedAt: number;
  /** The attempt to resolve it that is under way. */
  attempt: Promise<unknown> | undefined;
}

/** A settled conflict with what was decided. */
export interface ResolvedConflict {
  readonly conflict: ConflictRecord;
  readonly resolution: Resolution;
}

export interface ConflictStats {
  readonly active: number;
  readonly resolved: number;
  /** Times that a decision was left to somebody else. */
  readonly escalated: number;
  /** Times that a strategy broke or a resolution couldn't be applied. */
  readonly failed: number;
  readonly byKind: Readonly<Record<ConflictKind, number>>;
  readonly byStrategy: Readonly<Record<string, number>>;
  /** From report to resolution; 0 without resolutions. */
  readonly meanResolutionMs: number;
}

/** Open conflicts, the newest settled ones, and the figures of all. */
export class ConflictBook {
  readonly #historySize: number;
  readonly #open = new Map<string, ConflictEntry>();
  readonly #openByKey = new Map<string, ConflictEntry>();
  /** In order of resolution. */
  readonly #settled = new Map<string, ConflictEntry>();
  readonly #byKind = { resource: 0, assignment: 0, dependency: 0, output: 0, version: 0 };
  readonly #byStrategy = new Map<string, number>();
  #resolved = 0;
  #resolutionMs = 0;
  escalated = 0;
  failed = 0;

  constructor(historySize: number) {
    this.#historySize = historySize;
  }

  find(id: string): ConflictEntry | undefined {
    return this.#open.get(id) ?? this.#settled.get(id);
  }

  /** The open conflict of the same kind, subject and agents. */
  findOpen(key: string): ConflictEntry | undefined {
    return this.#openByKey.get(key);
  }

  open(record: ConflictRecord, key: string, facts: ConflictFacts, now: number): void {
    const entry = {
      record,
      key,
      facts,
      reportedAt: now,
      resolvedAt: 0,
      resolution: undefined,
      attempt: undefined,
    };
    this.#open.set(record.id, entry);
    this.#openByKey.set(key, entry);
    this.#byKind[record.kind] += 1;
  }

  settle(entry: ConflictEntry, resolution: Resolution, now: number): void {
    const { id } = entry.record;
    entry.record = Object.freeze({ ...entry.record, resolved: true });
    entry.resolution = resolution;
    entry.resolvedAt = now;
    // What was reported may be large texts; nobody asks for it again.
    entry.facts = {};
    this.#open.delete(id);
    this.#openByKey.delete(entry.key);
    this.#settled.set(id, entry);
    this.#byStrategy.set(resolution.type, (this.#byStrategy.get(resolution.type) ?? 0) + 1);
    this.#resolved += 1;
    this.#resolutionMs += now - entry.reportedAt;
    this.#prune((_, excess) => excess > 0);
  }

  active(): readonly ConflictRecord[] {
    return [...this.#open.values()].map((entry) => entry.record);
  }

  /** Newest first. */
  history(limit: number): readonly ResolvedConflict[] {
    return [...this.#settled.values()]
      .slice(-limit)
      .toReversed()
      .map(({ record, resolution }) => ({ conflict: record, resolution: resolution as Resolution }));
  }

  /** Forgets what was settled at or before this time; returns how many. */
  forget(until: number): number {
    return this.#prune((entry) => entry.resolvedAt <= until);
  }

  stats(): ConflictStats {
    return {
      active: this.#open.size,
      resolved: this.#resolved,
      escalated: this.escalated,
      failed: this.failed,
      byKind: { ...this.#byKind },
      byStrategy: Object.fromEntries(this.#byStrategy),
      meanResolutionMs: this.#resolved === 0 ? 0 : this.#resolutionMs / this.#resolved,
    };
  }

  /** Drops settled conflicts from the oldest on, while `drop` says so. */
  #prune(drop: (entry: ConflictEntry, excess: number) => boolean): number {
    let dropped = 0;
    for (const [id, entry] of this.#settled) {
      if (!drop(entry, this.#settled.size - this.#historySize)) break;
      this.#settled.delete(id);
      dropped += 1;
    }
    return dropped;
  }
}
