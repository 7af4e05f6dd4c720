import type { Standing } from './run.ts';

/** The fleet as lines of text. */
export function tableOf(title: string, tasks: number, { states, places, kills, pauses }: Standing): string {
  const done = states['completed'] ?? 0;
  const count = (name: string): string => String(states[name] ?? 0).padStart(6);
  const head = `${title}: ${done} of ${tasks} done, ${kills} kills, ${pauses} pauses`;
  const numbers = `  ready${count('ready')}  running${count('claimed')}  waiting to retry${count('scheduled')}  dead${count('dead')}`;
  const rows = places.map(
    ({ number, pid, state, kills: killed, pauses: paused }) =>
      `  worker ${number}  pid ${String(pid).padStart(7)}  ${state.padEnd(8)}  killed ${String(killed).padStart(2)}  paused ${paused}`,
  );
  return [head, numbers, ...rows].join('\n');
}

/** Draws tables over one another in a terminal; elsewhere one line a second is enough. */
export class LiveTable {
  readonly #out: NodeJS.WriteStream;
  #height = 0;
  #lastAt = 0;

  constructor(out: NodeJS.WriteStream) {
    this.#out = out;
  }

  draw(text: string): void {
    const now = performance.now();
    if (this.#out.isTTY) {
      const up = this.#height === 0 ? '' : `\u001b[${this.#height}A\u001b[J`;
      this.#height = text.split('\n').length;
      this.#out.write(`${up}${text}\n`);
    } else if (now - this.#lastAt > 5_000) {
      this.#lastAt = now;
      this.#out.write(`${text.split('\n', 1)[0]}\n`);
    }
  }

  /** The next table stands below this one. */
  end(): void {
    this.#height = 0;
    this.#lastAt = 0;
  }
}
