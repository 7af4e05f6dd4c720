/** A growing column of 32-bit integers: 4 bytes a cell, where an array of numbers takes 8 and an object far more. */
export class IntColumn {
  #cells = new Int32Array(16);

  /** The cell as it was last set; 0 before that. */
  get(index: number): number {
    return this.#cells[index] as number;
  }

  set(index: number, value: number): void {
    if (index >= this.#cells.length) this.#grow(index);
    this.#cells[index] = value;
  }

  add(index: number, amount: number): number {
    const value = (this.#cells[index] as number) + amount;
    this.#cells[index] = value;
    return value;
  }

  #grow(index: number): void {
    const larger = new Int32Array(Math.max(index + 1, Math.floor(this.#cells.length * 1.5)));
    larger.set(this.#cells);
    this.#cells = larger;
  }
}
