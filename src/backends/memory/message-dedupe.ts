import type { NewMessage } from '../../core/ports/messages.ts';
import type { BackendTime } from '../../core/ports/words.ts';

const WINDOW_US = 10 * 60_000_000;

/** Ids that senders gave, by receiver or topic, for 10 minutes after they were published. */
export class DedupeWindow {
  /** Oldest first; the key can't be ambiguous because names have no control characters. */
  readonly #seen = new Map<string, BackendTime>();

  /** Whether this id was published to the same place within the window. */
  has(message: NewMessage, at: BackendTime): boolean {
    this.prune(at);
    return this.#seen.has(keyOf(message));
  }

  add(message: NewMessage, at: BackendTime): void {
    this.#seen.set(keyOf(message), at);
  }

  prune(at: BackendTime): void {
    for (const [key, seenAt] of this.#seen) {
      if (seenAt + WINDOW_US > at) return;
      this.#seen.delete(key);
    }
  }
}

function keyOf({ topic, to, id }: NewMessage): string {
  return `${topic ? 'topic' : 'address'}\0${to}\0${id}`;
}
