import { closeSync, fdatasync, openSync, readdirSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';

/** What kinds of work there are; each asks for something else of the store. */
export type TaskKind =
  | 'effect'
  | 'flaky'
  | 'stubborn'
  | 'child'
  | 'later'
  | 'keyed'
  | 'order'
  | 'dropped'
  | 'poison';

/** How a lock is held: modes exclude each other by name, units add up to a capacity. */
export type HeldMode = 'exclusive' | 'shared' | { readonly units: number; readonly of: number };

/** What a process notes about itself, before it does something and after it was answered. */
export type Deed =
  | { readonly e: 'start'; readonly pid: number }
  | { readonly e: 'calm' }
  | {
      readonly e: 'submit';
      readonly n: number;
      readonly kind: TaskKind;
      /** Absent: the library makes one. */
      readonly task?: string;
      readonly after?: readonly string[];
      readonly delayMs?: number;
      readonly key?: string;
      /** Another payload than the first submission with this key. */
      readonly other?: boolean;
      readonly rolledBack?: boolean;
    }
  | { readonly e: 'submitted'; readonly n: number; readonly task: string; readonly key?: string }
  | { readonly e: 'refused'; readonly n: number; readonly code: string }
  | { readonly e: 'cancelled'; readonly task: string; readonly status: string }
  /** A handler starts; `running`: handlers of this agent, this one counted. */
  | {
      readonly e: 'begin';
      readonly task: string;
      readonly kind: TaskKind;
      readonly token: number;
      readonly attempt: number;
      readonly running: number;
    }
  | { readonly e: 'finish'; readonly task: string; readonly token: number; readonly how: string }
  | { readonly e: 'outcome'; readonly task: string; readonly as: string }
  | { readonly e: 'ask'; readonly n: number; readonly resource: string; readonly mode: HeldMode }
  /** The store has queued it. */
  | { readonly e: 'queued'; readonly n: number }
  | { readonly e: 'got'; readonly n: number; readonly token: number }
  | { readonly e: 'denied'; readonly n: number; readonly code: string }
  /** At this time the library said that it is held. */
  | { readonly e: 'hold'; readonly n: number; readonly token: number }
  | { readonly e: 'lost'; readonly n: number; readonly token: number }
  | { readonly e: 'give'; readonly n: number }
  | { readonly e: 'gave'; readonly n: number; readonly code?: string }
  | { readonly e: 'upgrade'; readonly n: number }
  | { readonly e: 'upgraded'; readonly n: number; readonly token: number }
  | { readonly e: 'kept'; readonly n: number; readonly code: string }
  | { readonly e: 'write'; readonly n: number; readonly resource: string; readonly token: number }
  | { readonly e: 'wrote'; readonly n: number; readonly code?: string }
  | { readonly e: 'send'; readonly to: string; readonly n: number }
  | { readonly e: 'sent'; readonly to: string; readonly n: number }
  | { readonly e: 'unsent'; readonly to: string; readonly n: number; readonly code: string }
  | {
      readonly e: 'received';
      readonly from: string;
      readonly to: string;
      readonly n: number;
      readonly redelivered: boolean;
    }
  | { readonly e: 'odd'; readonly what: string };

/** `t`: ms on the clock of the machine that never jumps; `p`: the process, `<place>.<boot>`. */
export type Entry = Deed & { readonly t: number; readonly p: string };

/** ms on a clock that all processes of this machine share and that nobody sets. */
export function now(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/**
 * A process's own account, in a file to which lines are only added. A line is handed to the kernel before the next step, so it survives a
 * SIGKILL of its writer; it is on disk a moment later.
 */
export class Journal {
  readonly #file: number;
  readonly #process: string;
  #isSyncing = false;
  #isStale = false;

  constructor(folder: string, name: string) {
    this.#file = openSync(join(folder, `${name}.jsonl`), 'a');
    this.#process = name;
  }

  /** @param t when it happened, if that was before now */
  note(deed: Deed, t: number = now()): void {
    writeSync(this.#file, `${JSON.stringify({ t, p: this.#process, ...deed })}\n`);
    this.#isStale = true;
    this.#sync();
  }

  close(): void {
    closeSync(this.#file);
  }

  #sync(): void {
    if (this.#isSyncing || !this.#isStale) return;
    this.#isSyncing = true;
    this.#isStale = false;
    fdatasync(this.#file, () => {
      this.#isSyncing = false;
      this.#sync();
    });
  }
}

/** All accounts of a folder, in order of time. The last line of a killed process may be torn. */
export function readJournals(folder: string): Entry[] {
  const entries = readdirSync(folder)
    .filter((name) => name.endsWith('.jsonl'))
    .flatMap((name) => readFileSync(join(folder, name), 'utf8').split('\n'))
    .flatMap(parse);
  return entries.toSorted((a, b) => a.t - b.t);
}

function parse(line: string): Entry[] {
  try {
    return line === '' ? [] : [JSON.parse(line) as Entry];
  } catch {
    return [];
  }
}
