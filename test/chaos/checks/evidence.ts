import type { TaskState, Transition } from '../../../src/core/ports/tasks.ts';
import type { Entry, HeldMode, TaskKind } from '../journal.ts';

/** A task as it stands in the store. */
export interface StoredTask {
  readonly id: string;
  readonly state: TaskState;
  readonly type: string;
  readonly priority: number;
  readonly attempt: number;
  readonly crashes: number;
  readonly reason?: string;
  readonly key?: string;
  /** Which submission it is, as its submitter wrote into it. */
  readonly by?: string;
  readonly n?: number;
}

/** A row of the ledger beside the mesh, in the order in which the rows were added. */
export interface Effect {
  readonly task: string;
  readonly token: number;
  readonly p: string;
}

export interface GuardedWrite {
  readonly resource: string;
  readonly token: number;
  readonly p: string;
}

/** What was done to the processes; times on the clock of the journals, `at` on the store's, µs. */
export type Fault =
  | {
      readonly f: 'kill';
      readonly p: string;
      readonly t: number;
      readonly at: number;
      readonly session: number;
      /** What it was running, by the store. */
      readonly tasks: readonly string[];
    }
  /** `cut`: a reply was lost between these two times. */
  | {
      readonly f: 'freeze' | 'partition' | 'server' | 'cut';
      readonly p: string;
      readonly t: number;
      readonly until: number;
    }
  | { readonly f: 'clock'; readonly p: string; readonly t: number; readonly byMs: number };

/** The store at one moment, read in one statement or script. */
export interface Sample {
  readonly t: number;
  /** By the store's clock, a little before `t`, µs. */
  readonly at: number;
  readonly enqueued: number;
  readonly pruned: number;
  readonly states: Readonly<Record<string, number>>;
  /** Who holds what, as rows or counts of the store itself. */
  readonly held: readonly Held[];
}

export interface Held {
  readonly resource: string;
  readonly exclusive: number;
  readonly shared: number;
  readonly units: number;
  readonly of: number;
}

/** A look at everything while nothing was going on. */
export interface Rest {
  readonly t: number;
  readonly holders: number;
  readonly waiters: number;
  /** Rows of tasks that the store really has, counted by hand. */
  readonly rows: number;
  /** Messages that wait, or are being handled. */
  readonly letters: number;
  readonly sample: Sample;
}

/** As the store's own rows say it. */
export type RestRows = Omit<Rest, 't' | 'sample'>;

export type TaskRow = Pick<StoredTask, 'state' | 'attempt' | 'crashes'>;

/** What the store's own rows and keys say, read past the library once nothing goes on any more. */
export interface Reading {
  readonly tasks: ReadonlyMap<string, TaskRow>;
  readonly history: readonly Transition[];
  /** Which process each was of, and when it ended or would end, µs. */
  readonly sessions: ReadonlyMap<number, { readonly pid: number; readonly endsAt: number }>;
}

/** Everything that was recorded of a run. */
export interface Evidence {
  readonly entries: readonly Entry[];
  readonly faults: readonly Fault[];
  readonly history: readonly Transition[];
  readonly tasks: ReadonlyMap<string, StoredTask>;
  readonly reading: Reading;
  readonly effects: readonly Effect[];
  readonly writes: readonly GuardedWrite[];
  /** Rows that were to be committed together with a task, by task id. Absent: the store has no transactions. */
  readonly orders?: ReadonlySet<string>;
  readonly samples: readonly Sample[];
  readonly rests: readonly Rest[];
  readonly leaseMs: number;
  readonly slots: number;
  /** Most ms that the machine kept a process waiting: added to bounds of time. */
  readonly stallMs: number;
}

/** A broken promise. */
export interface Problem {
  readonly invariant: string;
  readonly what: string;
  /** Task, resource or process it is about: its history is printed. */
  readonly about?: string;
}

export const found = (invariant: string, what: string, about?: string): Problem => ({
  invariant,
  what,
  ...(about === undefined ? {} : { about }),
});

/** How many items a check looked at: one that looks at none shows nothing. */
export interface Look {
  readonly looked: number;
  readonly problems: readonly Problem[];
}

/** Entries of one sort. */
export function deeds<E extends Entry['e']>(
  { entries }: Pick<Evidence, 'entries'>,
  e: E,
): Extract<Entry, { readonly e: E }>[] {
  return entries.filter((entry): entry is Extract<Entry, { readonly e: E }> => entry.e === e);
}

/** One taking of a lock, from the journal of who took it. */
export interface Taking {
  readonly p: string;
  readonly n: number;
  readonly resource: string;
  /** As asked for, and what an upgrade made of it. */
  mode: HeldMode;
  readonly askedAt: number;
  queuedAt?: number;
  gotAt?: number;
  token?: number;
  upgradeAt?: number;
  /** When the upgrade was granted or refused. */
  upgradeEndAt?: number;
  upgradeCode?: string;
  upgradedToken?: number;
  /** When the library last said that it is held. */
  heldAt?: number;
  /** It was given back, or said to be lost; `undefined`: its process didn't live to say. */
  endAt?: number;
  gaveWell?: boolean;
  deniedAt?: number;
  code?: string;
}

/** Takings in the order in which they were asked for. */
export function takings(evidence: Pick<Evidence, 'entries'>): Taking[] {
  const all = new Map<string, Taking>();
  for (const entry of evidence.entries) {
    if (!('n' in entry)) continue;
    const id = `${entry.p}#${entry.n}`;
    if (entry.e === 'ask') {
      const { p, n, resource, mode, t } = entry;
      all.set(id, { p, n, resource, mode, askedAt: t });
      continue;
    }
    const taking = all.get(id);
    if (taking !== undefined) hear(taking, entry);
  }
  return [...all.values()];
}

function hear(taking: Taking, entry: Entry): void {
  const { t } = entry;
  switch (entry.e) {
    case 'queued':
      taking.queuedAt ??= t;
      break;
    case 'got':
      taking.gotAt = t;
      taking.token = entry.token;
      break;
    case 'denied':
      taking.deniedAt = t;
      taking.code = entry.code;
      break;
    case 'hold':
      taking.heldAt = t;
      break;
    case 'lost':
      taking.endAt ??= t;
      break;
    case 'give':
      taking.endAt ??= t;
      break;
    case 'gave':
      taking.gaveWell = entry.code === undefined;
      break;
    case 'upgrade':
      taking.upgradeAt = t;
      break;
    case 'upgraded':
      taking.upgradeEndAt = t;
      taking.upgradedToken = entry.token;
      taking.mode = 'exclusive';
      break;
    case 'kept':
      taking.upgradeEndAt = t;
      taking.upgradeCode = entry.code;
      break;
    default:
  }
}

/** Kinds that end otherwise than well, or may. */
export const MAY_FAIL: ReadonlySet<TaskKind> = new Set<TaskKind>(['dropped', 'poison']);
