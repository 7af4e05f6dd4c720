import { machineMs, type Payload } from '../systems/system.ts';

/** Who ran, how often and when. */
export class Tally {
  readonly #seen: Uint8Array;
  #runs = 0;
  #twice = 0;
  #firstAt = 0;
  /** When so many had run, ms of the machine: `marks[k]` is for part k + 1 of `parts`. */
  readonly marks: number[] = [];
  readonly #part: number;
  #nextMark: number;
  readonly #waiters: { readonly runs: number; readonly wake: () => void }[] = [];

  constructor(jobs: number, parts = 1) {
    this.#seen = new Uint8Array(jobs);
    this.#part = jobs / parts;
    this.#nextMark = this.#part;
  }

  readonly see = ({ n }: Payload): void => {
    if (this.#runs === 0) this.#firstAt = machineMs();
    this.#runs += 1;
    const before = this.#seen[n];
    if (before === 1) this.#twice += 1;
    this.#seen[n] = 1;
    if (this.#runs >= this.#nextMark) {
      this.marks.push(machineMs());
      this.#nextMark += this.#part;
    }
    while (this.#waiters.length > 0 && this.#runs >= (this.#waiters[0]?.runs ?? 0))
      this.#waiters.shift()?.wake();
  };

  get firstAt(): number {
    return this.#firstAt;
  }
  get runs(): number {
    return this.#runs;
  }
  get twice(): number {
    return this.#twice;
  }
  get seen(): Uint8Array {
    return this.#seen;
  }

  /** Resolves when so many have run. */
  until(runs: number): Promise<void> {
    if (this.#runs >= runs) return Promise.resolve();
    return new Promise((wake) => {
      this.#waiters.push({ runs, wake });
      this.#waiters.sort((a, b) => a.runs - b.runs);
    });
  }
}
