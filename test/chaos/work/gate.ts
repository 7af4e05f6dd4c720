/** Lets the loops of a process run or rest: asked to be calm, it waits until none of them is in the middle of something. */
export class Gate {
  #isOpen = true;
  #active = 0;
  #opened = Promise.withResolvers<void>();
  #calmed = Promise.withResolvers<void>();

  open(): void {
    if (this.#isOpen) return;
    this.#isOpen = true;
    this.#calmed = Promise.withResolvers<void>();
    this.#opened.resolve();
  }

  /** Resolves when every loop rests. */
  async calm(): Promise<void> {
    if (this.#isOpen) {
      this.#isOpen = false;
      this.#opened = Promise.withResolvers<void>();
    }
    if (this.#active > 0) await this.#calmed.promise;
  }

  /** Runs a step over and over, for as long as the process lives, but begins none while closed. */
  async loop(step: () => Promise<void>): Promise<never> {
    for (;;) {
      if (!this.#isOpen) {
        await this.#opened.promise;
        continue;
      }
      this.#active += 1;
      try {
        await step();
      } finally {
        this.#active -= 1;
        if (!this.#isOpen && this.#active === 0) this.#calmed.resolve();
      }
    }
  }
}
