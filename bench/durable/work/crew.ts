import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { OpenOptions, Place } from '../systems/system.ts';

/** What a worker process is told, as JSON in its first argument. */
export interface CrewOrder {
  readonly system: string;
  readonly place: Place;
  readonly options: OpenOptions;
  readonly slots: number;
  readonly jobs: number;
  /** Tells of each job at once. */
  readonly tells: boolean;
}

/** What it says. */
export type CrewWord =
  | { readonly say: 'ready' }
  | { readonly say: 'at work' }
  | { readonly say: 'ran'; readonly n: number; readonly ms: number }
  | {
      readonly say: 'sum';
      readonly runs: number;
      readonly twice: number;
      readonly firstAt: number;
      /** Bytes, 1 for each job that ran; base64. */
      readonly seen: string;
      readonly rss: number;
    };

export type Sum = Extract<CrewWord, { say: 'sum' }>;

const WORKER = fileURLToPath(new URL('worker.ts', import.meta.url));

/** A worker in a process of its own. */
export class CrewMember {
  readonly #child: ChildProcess;
  readonly #hear = new Map<CrewWord['say'], (word: CrewWord) => void>();

  constructor(order: CrewOrder) {
    this.#child = fork(WORKER, [JSON.stringify(order)], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
    this.#child.on('message', (word: CrewWord) => this.#hear.get(word.say)?.(word));
  }

  ready(): Promise<CrewWord> {
    return this.#next('ready');
  }

  async go(): Promise<void> {
    const started = this.#next('at work');
    this.#child.send('go');
    await started;
  }

  on(say: CrewWord['say'], listener: (word: CrewWord) => void): void {
    this.#hear.set(say, listener);
  }

  async end(): Promise<Sum> {
    const sum = this.#next('sum');
    this.#child.send('end');
    const word = (await sum) as Sum;
    if (this.#child.exitCode === null) await once(this.#child, 'exit');
    return word;
  }

  #next(say: CrewWord['say']): Promise<CrewWord> {
    return new Promise((resolve, reject) => {
      const ended = (code: number | null): void => reject(new Error(`a worker ended with ${code}`));
      this.#child.once('exit', ended);
      this.on(say, (word) => {
        this.#child.off('exit', ended);
        resolve(word);
      });
    });
  }
}

/** The sums of all as one. */
export function joined(
  sums: readonly Sum[],
  jobs: number,
): { readonly runs: number; readonly twice: number; readonly firstAt: number } {
  const seen = new Uint8Array(jobs);
  let twice = 0;
  for (const sum of sums) {
    twice += sum.twice;
    Buffer.from(sum.seen, 'base64').forEach((ran, n) => {
      if (ran === 1 && seen[n] === 1) twice += 1;
      if (ran === 1) seen[n] = 1;
    });
  }
  return {
    runs: sums.reduce((total, { runs }) => total + runs, 0),
    twice,
    firstAt: Math.min(...sums.filter(({ runs }) => runs > 0).map(({ firstAt }) => firstAt)),
  };
}
