/** Loads are told apart to 1/256: exactly for agents of at most 16 slots, and among agents of the same number (at most 256) of slots. */
export const LOAD_STEPS = 256;
/** Below {@link LOAD_STEPS} a slot is free; the last level holds every load from 2 on. */
const LEVELS = 2 * LOAD_STEPS;

/** The level of an agent with `tasks` running and queued on `slots`. */
export function loadLevel(tasks: number, slots: number): number {
  if (slots === Number.POSITIVE_INFINITY) return 0;
  if (!(slots > 0)) return LEVELS - 1;
  return Math.min(LEVELS - 1, Math.floor((tasks * LOAD_STEPS) / slots));
}

/**
 * Agents by seat (a number in order of registration) in one row of bits for each load level. The least loaded agent of a set is the first
 * common bit of the set and the lowest level in use: 32 agents a step, whatever the number of capabilities and of agents.
 */
export class AgentIndex {
  #words = 1;
  /** Seats with a free slot. */
  #free = new Uint32Array(1);
  /** Seats that take work, free or not. */
  #open = new Uint32Array(1);
  readonly #rows: (Uint32Array | undefined)[] = new Array<Uint32Array | undefined>(LEVELS).fill(undefined);
  readonly #counts = new Int32Array(LEVELS);
  readonly #used = new Uint32Array(LEVELS / 32);

  /** 32-bit words in a row; sets given to the queries have as many. */
  get words(): number {
    return this.#words;
  }

  get free(): Uint32Array {
    return this.#free;
  }

  get open(): Uint32Array {
    return this.#open;
  }

  /** Makes room for this many words in every row. */
  grow(words: number): void {
    this.#words = words;
    this.#free = widened(this.#free, words);
    this.#open = widened(this.#open, words);
    for (let level = 0; level < LEVELS; level++) {
      const row = this.#rows[level];
      if (row !== undefined) this.#rows[level] = widened(row, words);
    }
  }

  clear(): void {
    this.#free.fill(0);
    this.#open.fill(0);
    this.#counts.fill(0);
    this.#used.fill(0);
    this.#rows.fill(undefined);
  }

  insert(seat: number, level: number): void {
    setBit(this.#open, seat);
    if (level < LOAD_STEPS) setBit(this.#free, seat);
    const row = (this.#rows[level] ??= new Uint32Array(this.#words));
    setBit(row, seat);
    if (this.#counts[level] === 0) setBit(this.#used, level);
    this.#counts[level] = (this.#counts[level] as number) + 1;
  }

  delete(seat: number, level: number): void {
    clearBit(this.#open, seat);
    clearBit(this.#free, seat);
    clearBit(this.#rows[level] as Uint32Array, seat);
    const left = (this.#counts[level] as number) - 1;
    this.#counts[level] = left;
    if (left === 0) clearBit(this.#used, level);
  }

  /** The seat of `set` with the lowest level; among equals the first at or after `from`, in a circle. −1: none. */
  lowest(set: Uint32Array, from: number, full: boolean): number {
    const groups = (full ? LEVELS : LOAD_STEPS) / 32;
    for (let group = 0; group < groups; group++) {
      let bits = this.#used[group] as number;
      while (bits !== 0) {
        const level = group * 32 + lowestBit(bits);
        const found = nextSeat(this.#rows[level] as Uint32Array, set, from);
        if (found >= 0) return found;
        bits &= bits - 1;
      }
    }
    return -1;
  }
}

export function setBit(row: Uint32Array, seat: number): void {
  row[seat >>> 5] = (row[seat >>> 5] as number) | (1 << (seat & 31));
}

export function clearBit(row: Uint32Array, seat: number): void {
  row[seat >>> 5] = (row[seat >>> 5] as number) & ~(1 << (seat & 31));
}

export function hasBit(row: Uint32Array, seat: number): boolean {
  return ((row[seat >>> 5] as number) & (1 << (seat & 31))) !== 0;
}

export function widened(row: Uint32Array, words: number): Uint32Array<ArrayBuffer> {
  const wider = new Uint32Array(words);
  wider.set(row);
  return wider;
}

/** The first seat in both rows at or after `from`, in a circle. −1: none. */
export function nextSeat(a: Uint32Array, b: Uint32Array, from: number): number {
  const start = from >>> 5;
  if (start < a.length) {
    const bits = (a[start] as number) & (b[start] as number) & (-1 << (from & 31));
    if (bits !== 0) return start * 32 + lowestBit(bits);
  }
  const after = firstSeat(a, b, start + 1, a.length);
  // The start's own word again: only its seats before `from` can be left.
  return after >= 0 ? after : firstSeat(a, b, 0, Math.min(start + 1, a.length));
}

function firstSeat(a: Uint32Array, b: Uint32Array, start: number, end: number): number {
  for (let word = start; word < end; word++) {
    const bits = (a[word] as number) & (b[word] as number);
    if (bits !== 0) return word * 32 + lowestBit(bits);
  }
  return -1;
}

/** How many seats are in both rows. */
export function countSeats(a: Uint32Array, b: Uint32Array): number {
  let count = 0;
  for (let word = 0; word < a.length; word++) {
    let bits = (a[word] as number) & (b[word] as number);
    bits -= (bits >>> 1) & 0x55555555;
    bits = (bits & 0x33333333) + ((bits >>> 2) & 0x33333333);
    count += (((bits + (bits >>> 4)) & 0x0f0f0f0f) * 0x01010101) >>> 24;
  }
  return count;
}

function lowestBit(bits: number): number {
  return 31 - Math.clz32(bits & -bits);
}
