import type { TaskRow } from './row.ts';

const BITS = 10;
const SIZE = 1 << BITS;

/** A full chunk with this few rows left is packed: a few dead letters must not hold room for a thousand tasks each. */
const FEW = 64;

interface Chunk {
  /** By `seq`; once packed, the rows that are left in order. */
  rows: (TaskRow | undefined)[];
  isPacked: boolean;
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
      chunk = { rows: new Array<TaskRow | undefined>(SIZE).fill(undefined), isPacked: false, live: 0 };
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
    if (chunk.isPacked) chunk.rows.splice(chunk.rows.indexOf(row), 1);
    else chunk.rows[row.seq % SIZE] = undefined;
    chunk.live -= 1;
    if (chunk === this.#newest) return;
    if (chunk.live === 0) this.#chunks.delete(number);
    else if (chunk.live <= FEW && !chunk.isPacked) {
      chunk.rows = chunk.rows.filter((one) => one !== undefined);
      chunk.isPacked = true;
    }
  }

  /** Rows with a higher `seq` than this, in order. */
  *after(seq: number): Generator<TaskRow> {
    const first = Math.floor((seq + 1) / SIZE);
    for (const number of this.#numbers(first, this.#newestNumber)) {
      const chunk = this.#chunks.get(number);
      if (chunk === undefined) continue;
      const { rows, isPacked } = chunk;
      for (let i = number === first && !isPacked ? (seq + 1) % SIZE : 0; i < rows.length; i++) {
        const row = rows[i];
        if (row !== undefined && row.seq > seq) yield row;
      }
    }
  }

  /** Rows with a lower `seq` than this, the newest first. */
  *before(seq: number): Generator<TaskRow> {
    for (const number of this.#numbers(0, Math.floor(seq / SIZE)).toReversed()) {
      const rows = this.#chunks.get(number)?.rows ?? [];
      for (let i = rows.length - 1; i >= 0; i--) {
        const row = rows[i];
        if (row !== undefined && row.seq < seq) yield row;
      }
    }
  }

  /** The chunks there are between two numbers, in order. Most often those asked for are the newest, and few. */
  #numbers(from: number, to: number): readonly number[] {
    const last = Math.min(to, this.#newestNumber);
    if (last - from >= this.#chunks.size)
      return [...this.#chunks.keys()].filter((n) => n >= from && n <= last);
    const numbers: number[] = [];
    for (let number = from; number <= last; number++) if (this.#chunks.has(number)) numbers.push(number);
    return numbers;
  }
}
