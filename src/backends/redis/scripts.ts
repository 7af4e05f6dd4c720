// A fingerprint of fixed text, as the server makes it: neither chance nor identity.
// oxlint-disable-next-line no-restricted-imports
import { createHash } from 'node:crypto';
import { preludeOf, SERVER_TIME } from './lua/prelude.ts';

/** A Lua script of a store: fixed text, which takes the key prefix of its mesh as KEYS[1] and everything else as ARGV. */
export interface Script {
  readonly name: string;
  readonly body: string;
}

/** What is sent: the whole text, and what the server knows it by. */
export interface ScriptText {
  readonly text: string;
  readonly sha: string;
}

/**
 * Makes a script of a body, which may use what the prelude defines:
 * - `K`: the prefix of all keys, e.g. `agentmesh:{default}:`
 * - `now()`: backend time in µs, the same throughout a script
 * - `int(n)`: an integer as text; `..` would print 1.79e+15
 * - `fail(code, message)`: raises an error; validate everything before the first write, for nothing is rolled back
 * - `alive(session)`: whether the session is open and within its lease
 * - `begin(session, sequence, even_expired)`: the stored answer of a repeated operation, else nil. Raises AM001 when the session is over
 *   or the operation too old. With `even_expired` (settle only) a session that is over is let in, and nothing is remembered.
 * - `finish(session, sequence, answer)`: remembers the answer, a string, of the operation that `begin` let in; returns it. Of each session
 *   the last 32 are remembered.
 * - `token()`, `tokens(count)`: the next mesh-wide token as a number, or the first of so many in a row
 * - `hint(kind, name)`: wakes who waits: `tasks` queue, `locks` resource, `messages` address, `state` prefix, `orders` session
 */
export function defineScript(name: string, body: string): Script {
  return { name, body };
}

/** The texts of the scripts of one store, each made once. */
export class ScriptTexts {
  readonly #prelude: string;
  readonly #known = new Map<Script, ScriptText>();

  /** @param clock Lua that sets `NOW`. @default the server's time */
  constructor(clock: string = SERVER_TIME) {
    this.#prelude = preludeOf(clock);
  }

  of(script: Script): ScriptText {
    let known = this.#known.get(script);
    if (known === undefined) {
      const text = `-- agentmesh ${script.name}\n${this.#prelude}${script.body}`;
      known = { text, sha: createHash('sha1').update(text).digest('hex') };
      this.#known.set(script, known);
    }
    return known;
  }
}
