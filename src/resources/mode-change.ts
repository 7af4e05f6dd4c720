/** A change of a held lock's modes that a store across a network has been asked for. */
export class ModeChange {
  /** The upgrade; without one it is a downgrade, which changes no token. */
  readonly upgrade: { readonly status: string } | undefined;
  /** Resolves when the store has said what became of it, or can't be asked. */
  readonly over: Promise<void>;
  isOver = false;
  /** The lock may have another token in the store than is known here. */
  isDoubtful: boolean;
  readonly #resolve: () => void;

  /** @param before the latest change of the same lock */
  constructor(upgrade: ModeChange['upgrade'], before: ModeChange | undefined) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.upgrade = upgrade;
    this.over = promise;
    this.#resolve = resolve;
    this.isDoubtful = upgrade !== undefined || before?.isDoubtful === true;
  }

  /** @param isKnown the store has said what became of it */
  end(isKnown: boolean): void {
    this.isOver = true;
    if (isKnown && this.upgrade !== undefined) this.isDoubtful = false;
    this.#resolve();
  }
}
