/** A server that is empty, for one run. */
export interface Place {
  readonly backend: 'postgres' | 'redis';
  readonly url: string;
}

/** What every job of every system carries: about 110 bytes as JSON. */
export interface Payload {
  readonly n: number;
  /** When it was submitted, ms of the machine's monotonic clock; 0 where nobody asks. */
  readonly at: number;
  readonly text: string;
}

const TEXT = 'Reads the repository, edits the file that was named and runs its tests.';

export function payloadOf(n: number, at = 0): Payload {
  return { n, at, text: TEXT };
}

/** ms; the same in all processes of the machine. */
export function machineMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

export interface OpenOptions {
  /** What wakes an idle worker at once is switched on, at the price that it has. */
  readonly wakes?: boolean;
}

/** A queue that is measured. */
export interface System {
  readonly name: string;
  /** What it lacks or has more than ours, and how it is set up. */
  readonly note?: string;
  open(place: Place, options?: OpenOptions): Promise<OpenSystem>;
}

export interface OpenSystem {
  /** Stores one job. */
  one(payload: Payload): Promise<unknown>;
  /** Stores an array of jobs in the way that is meant for it. Answers their ids. */
  many(payloads: readonly Payload[]): Promise<readonly string[]>;
  /** Runs jobs, so many at a time. Resolves when the worker is there. */
  work(slots: number, handler: (payload: Payload) => void): Promise<void>;
  /** Whether the store says that nothing is left to do. Cheap: it is asked every few ms. */
  isDrained(): Promise<boolean>;
  /** How many the store says are completed; `undefined` where it forgets them. */
  completed(): Promise<number | undefined>;
  /** The result of a job, from the store. */
  result?(id: string): Promise<unknown>;
  close(): Promise<void>;
}
