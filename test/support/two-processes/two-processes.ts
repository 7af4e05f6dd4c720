import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { CoordinationError, type ErrorCode } from '../../../src/core/errors.ts';
import type { Backend } from '../../../src/core/ports/backend.ts';
import { type Call, intercept } from '../../../src/testing/wrappers.ts';
import type { Place, Question, Reply } from './other-process.ts';
import { plain } from './plain.ts';

const OTHER_PROCESS = fileURLToPath(new URL('./other-process.ts', import.meta.url));

type Unnumbered = Question extends infer Q ? (Q extends Question ? Omit<Q, 'id'> : never) : never;

interface Asked {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** A process beside this one, which has clients of its own and calls ports for it. */
export class OtherProcess implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #asked = new Map<number, Asked>();
  #last = 0;
  /** Calls of ports that it carried out. */
  calls = 0;

  constructor() {
    // Structured clones: `Infinity` and `undefined` arrive as they are.
    this.#child = fork(OTHER_PROCESS, { serialization: 'advanced', execArgv: [] });
    this.#child.on('message', (reply: Reply) => this.#answered(reply));
    this.#child.on('exit', () => {
      for (const { reject } of this.#asked.values()) reject(new Error('The other process has ended'));
    });
  }

  ask(question: Unnumbered): Promise<unknown> {
    this.#last += 1;
    const id = this.#last;
    return new Promise((resolve, reject) => {
      this.#asked.set(id, { resolve, reject });
      this.#child.send({ ...question, id });
    });
  }

  #answered(reply: Reply): void {
    const asked = this.#asked.get(reply.id);
    this.#asked.delete(reply.id);
    if ('value' in reply) asked?.resolve(reply.value);
    else asked?.reject(new CoordinationError(reply.error.code as ErrorCode, reply.error.message));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const gone = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.disconnect();
    await gone;
  }
}

/**
 * A backend whose calls are made by two processes: those of the first session by the other one, those of the next by this one, and so on in
 * turn; of the calls that are of no session every second.
 */
export function throughTwoProcesses(backend: Backend, other: OtherProcess, place: Place): Backend {
  const mesh = JSON.stringify(place);
  let turns = 0;
  const sessions = new Map<number, boolean>();
  const isOthers = ({ session }: Call): boolean => {
    if (session === undefined) return turns++ % 2 === 1;
    const known = sessions.get(session) ?? sessions.size % 2 === 0;
    sessions.set(session, known);
    return known;
  };
  const wrapped = intercept(backend, (call) => {
    if (!isOthers(call)) return call.send();
    other.calls += 1;
    const { port, method, args } = call;
    return other.ask({ ask: 'call', mesh, port, method, args: args.map(plain) });
  });
  let started: Promise<unknown> | undefined;
  let stopped: Promise<unknown> | undefined;
  return {
    ...wrapped,
    start: async (runtime) => {
      started ??= other.ask({ ask: 'start', mesh, place });
      const [report] = await Promise.all([backend.start(runtime), started]);
      return report;
    },
    stop: async () => {
      stopped ??= other.ask({ ask: 'stop', mesh });
      await Promise.all([backend.stop(), stopped]);
    },
  };
}
