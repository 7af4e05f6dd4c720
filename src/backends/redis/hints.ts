import { HintHub } from '../../core/hint-hub.ts';
import { hintAbout } from '../../core/hint-listeners.ts';
import type { Hint } from '../../core/ports/backend.ts';

/** Hands hints from the one channel of a mesh to those interested: equal ones, as many texts of one packet are, once. */
export class Hints {
  readonly #hub = new HintHub();
  readonly #isOwn: (session: number) => boolean;

  /** @param isOwn whether orders for a session concern this process */
  constructor(isOwn: (session: number) => boolean) {
    this.#isOwn = isOwn;
  }

  on(interest: readonly Hint[], listener: (hint: Hint) => void): Disposable {
    return this.#hub.on(interest, listener);
  }

  /** A text of the channel: `kind name`, or `request id resource`. What isn't understood is of a newer build. */
  received(text: string): void {
    const space = text.indexOf(' ');
    const name = text.slice(space + 1);
    const kind = text.slice(0, space);
    const hint = kind === 'request' ? ofRequest(name) : hintAbout(kind, name);
    if (hint === undefined) return;
    if (hint.about === 'orders' && !this.#isOwn(Number(name))) return;
    this.send(hint);
  }

  send(hint: Hint): void {
    this.#hub.send(hint);
  }
}

/** `id resource`; the id has no spaces. */
function ofRequest(text: string): Hint | undefined {
  const space = text.indexOf(' ');
  return hintAbout('locks', text.slice(space + 1), text.slice(0, space));
}
