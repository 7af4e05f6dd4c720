import type { CoordinationEvent } from './mesh.ts';

/** Where lines go. */
export interface Output {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  write(text: string): unknown;
}

const REDRAW_MS = 100;

/** How far a run is: one line that is redrawn on a terminal, a plain line each 10 % elsewhere. Counts events only. */
export class Progress {
  readonly #out: Output;
  readonly #title: string;
  readonly #total: number;
  readonly #now: () => number;
  readonly #from: number;
  #done = 0;
  #deadlocks = 0;
  #drawnAt = Number.NEGATIVE_INFINITY;
  #tenths = 0;

  constructor(out: Output, title: string, total: number, now: () => number = () => performance.now()) {
    this.#out = out;
    this.#title = title;
    this.#total = total;
    this.#now = now;
    this.#from = now();
  }

  see(event: CoordinationEvent): void {
    if (event.name === 'deadlock:detected') this.#deadlocks += 1;
    if (event.name !== 'task:completed' || event.payload.type !== 'edit') return;
    this.#done += 1;
    if (this.#out.isTTY === true) this.#redraw();
    else this.#printTenth();
  }

  /** Leaves the terminal with an empty line. */
  end(): void {
    if (this.#out.isTTY === true) this.#out.write('\r\u001b[2K');
  }

  #redraw(): void {
    if (this.#now() - this.#drawnAt < REDRAW_MS) return;
    this.#drawnAt = this.#now();
    this.#out.write(`\r\u001b[2K${this.#line().slice(0, Math.max(20, this.#out.columns ?? 80) - 1)}`);
  }

  #printTenth(): void {
    const tenths = Math.floor((10 * this.#done) / this.#total);
    if (tenths === this.#tenths) return;
    this.#tenths = tenths;
    this.#out.write(`${this.#line()}\n`);
  }

  #line(): string {
    const seconds = Math.max(0.001, (this.#now() - this.#from) / 1_000);
    const rate = this.#done / seconds;
    const left = (this.#total - this.#done) / rate;
    const deadlocks = this.#deadlocks === 0 ? '' : ` · deadlocks ${this.#deadlocks}`;
    return `${this.#title}: ${this.#done}/${this.#total} edits · ${rate.toFixed(0)}/s · ${left.toFixed(1)} s left${deadlocks}`;
  }
}
