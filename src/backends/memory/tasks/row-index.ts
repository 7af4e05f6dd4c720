import type { TaskRow } from './row.ts';

const BITS = 10;
const SIZE = 1 << BITS;

interface Chunk {
  readonly rows: (TaskRow | undefined)[];
  live: number;
}

/** All rows by order of enqueue, so that lists can be read from the newest and go on where they stopped. Chunks without rows are dropped. */
export class RowIndex {
  readonly #chunks = new Map<number, Chunk>();
  #newest: Chunk | undefined = undefined;
  #newestNumber = -1;
  /** The chunk of the last deletion; the next is most often there too. */
  #shrinking: Chunk | undefined = undefined;
  #shrinkingNumber = -1;

  add(row: TaskRow): void {
    const number = Math.floor(row.seq / SIZE);
    let chunk = this.#newest;
    if (chunk === undefined || this.#newestNumber !== number) {
      if (chunk?.live === 0) this.#chunks.delete(this.#newestNumber);
      chunk = { rows: new Array<TaskRow | undefined>(SIZE).fill(undefined), live: 0 };
      this.#chunks.set(number, chunk);
      this.#newest = chunk;
      this.#newestNumber = number;
    }
    chunk.rows[row.seq % SIZE] = row;
    chunk.live += 1;
  }

  delete(row: TaskRow): void {
    const number = Math.floor(row.seq / SIZE);
    if (this.#shrinkingNumber !== number) {
      this.#shrinking = this.#chunks.get(number);
      this.#shrinkingNumber = number;
    }
    const chunk = this.#shrinking;
    if (chunk === undefined) return;
    chunk.rows[row.seq % SIZE] = undefined;
    chunk.live -= 1;
    if (chunk.live === 0 && chunk !== this.#newest) this.#chunks.delete(number);
  }

  /** Rows with a higher `seq` than this, in order. */
  *after(seq: number): Generator<TaskRow> {
    const first = Math.floor((seq + 1) / SIZE);
    for (let number = first; number <= this.#newestNumber; number++) {
      const rows = this.#chunks.get(number)?.rows;
      if (rows === undefined) continue;
      for (let i = number === first ? (seq + 1) % SIZE : 0; i < SIZE; i++) {
        const row = rows[i];
        if (row !== undefined) yield row;
      }
    }
  }

  /** Rows with a lower `seq` than this, the newest first. */
  *before(seq: number): Generator<TaskRow> {
    const [oldest] = this.#chunks.keys();
    if (oldest === undefined) return;
    for (let number = Math.min(this.#newestNumber, Math.floor(seq / SIZE)); number >= oldest; number--) {
      const rows = this.#chunks.get(number)?.rows;
      if (rows === undefined) continue;
      for (let i = SIZE - 1; i >= 0; i--) {
        const row = rows[i];
        if (row !== undefined && row.seq < seq) yield row;
      }
    }
  }
}
