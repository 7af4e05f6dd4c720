import { CoordinationError } from '../../core/errors.ts';
import type { Runtime } from '../../core/ports/runtime.ts';
import type { BackendTime } from '../../core/ports/words.ts';
import type { RedisClient } from './client.ts';
import { isNoScript, isReply, NoReply, textOf, toPortError } from './redis-errors.ts';
import { defineScript, type Script, ScriptTexts } from './scripts.ts';

/** A read whose reply was lost waits this long for the connection to come back, ms, and is then asked once more. */
const READ_AGAIN_MS = 500;

export interface RedisStoreOptions {
  /** What every key of the mesh begins with, hash tag included. */
  readonly tag: string;
  /** Longest wait for a reply, ms. */
  readonly commandTimeoutMs: number;
  /** Lua that sets `NOW` to the backend's time, µs. @default the server's time */
  readonly clock?: string;
}

type Argument = string | number;

const NOW = defineScript('now', 'return int(now())');

/** The one connection through which the stores of a mesh run their scripts. */
export class RedisStore {
  /** What every key of the mesh begins with, e.g. `agentmesh:{default}:`. */
  readonly tag: string;
  readonly #commandTimeoutMs: number;
  readonly #texts: ScriptTexts;
  /** Ends everything that is waited for, each with its timer. */
  readonly #waits = new Set<() => void>();
  /** Scripts that the server of this connection has. */
  readonly #loaded = new Set<Script>();
  #client: RedisClient | undefined;
  #scriptsLost: (() => void) | undefined;
  #runtime: Runtime | undefined;
  #stopped = false;
  /** What the connection last failed with. */
  #problem = 'not connected yet';

  constructor(options: RedisStoreOptions) {
    this.tag = options.tag;
    this.#commandTimeoutMs = options.commandTimeoutMs;
    this.#texts = new ScriptTexts(options.clock);
  }

  /** Whether it was stopped: then everything is refused. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /** Whether commands can be sent. */
  get isReady(): boolean {
    return !this.#stopped && this.#client?.status === 'ready';
  }

  /** What the connection last failed with, in words. */
  get problem(): string {
    return this.#problem;
  }
  set problem(text: string) {
    this.#problem = text;
  }

  /**
   * Sends through this client from now on.
   * @param scriptsLost called when the server has none of its scripts any more: it may have been started anew, which a cluster's client doesn't tell
   */
  use(client: RedisClient, runtime: Runtime, scriptsLost?: () => void): void {
    this.#client = client;
    this.#scriptsLost = scriptsLost;
    this.#runtime = runtime;
    this.#loaded.clear();
    this.#stopped = false;
  }

  /** There is another connection, maybe to another server. */
  reconnected(): void {
    this.#loaded.clear();
  }

  /** Refuses everything from now on; what is under way too. */
  stop(): void {
    this.#stopped = true;
    this.#client = undefined;
    for (const end of this.#waits) end();
    this.#waits.clear();
  }

  /**
   * Runs a script.
   * @param timeoutMs longest wait for the reply, @default commandTimeoutMs
   * @throws BACKEND_UNAVAILABLE when nothing was done: not sent, refused for now, or a read without a reply
   * @throws OUTCOME_UNKNOWN when a write was sent and its reply did not come
   * @throws SESSION_EXPIRED, SCHEMA_MISMATCH, NOT_SUPPORTED, STOPPED
   */
  async run(
    script: Script,
    args: readonly Argument[],
    kind: 'read' | 'write',
    timeoutMs: number = this.#commandTimeoutMs,
  ): Promise<unknown> {
    const { text, sha } = this.#texts.of(script);
    const full = async (): Promise<unknown> => {
      const reply = await this.#send('EVAL', [text, 1, this.tag, ...args], timeoutMs);
      this.#loaded.add(script);
      return reply;
    };
    return this.#trying(kind, async () => {
      // In full until one was answered: asking by its hash first, calls could overtake the ones that have to be sent again.
      if (!this.#loaded.has(script)) return full();
      try {
        return await this.#send('EVALSHA', [sha, 1, this.tag, ...args], timeoutMs);
      } catch (error) {
        // Somebody flushed the scripts, or another node of the cluster took over.
        if (!isNoScript(error)) throw error;
        this.#scriptsLost?.();
        this.#loaded.delete(script);
        return full();
      }
    });
  }

  /** The one server, or the masters of a cluster. */
  get masters(): readonly RedisClient[] {
    const client = this.#client;
    return client === undefined ? [] : (client.nodes?.('master') ?? [client]);
  }

  /**
   * Sends one command that does no harm when it comes twice.
   * @param node one of {@link masters}; @default whichever the client takes
   * @throws as {@link run}
   */
  async ask([command, ...args]: readonly [string, ...Argument[]], node?: RedisClient): Promise<unknown> {
    return this.#trying('read', () => this.#send(command, args, this.#commandTimeoutMs, node));
  }

  /** The backend's time. @throws as {@link run} */
  async now(): Promise<BackendTime> {
    return Number(await this.run(NOW, [], 'read')) as BackendTime;
  }

  async #trying(kind: 'read' | 'write', send: () => Promise<unknown>): Promise<unknown> {
    try {
      return await send();
    } catch (error) {
      const mayAsk = kind === 'read' && error instanceof NoReply && error.loss === 'connection';
      if (!mayAsk || !(await this.#back())) throw toPortError(error, kind);
    }
    try {
      return await send();
    } catch (error) {
      throw toPortError(error, kind);
    }
  }

  #send(command: string, args: readonly Argument[], timeoutMs: number, node?: RedisClient): Promise<unknown> {
    const client = this.#client;
    const runtime = this.#runtime;
    if (this.#stopped) return Promise.reject(stopped());
    if (client === undefined || runtime === undefined || client.status !== 'ready')
      return Promise.reject(new NoReply('not-sent', this.#problem));
    return new Promise((resolve, reject) => {
      const end = (): void => {
        this.#waits.delete(stop);
        timer.cancel();
      };
      const stop = (): void => {
        end();
        reject(stopped());
      };
      const timer = runtime.clock.after(timeoutMs, () => {
        end();
        reject(new NoReply('timeout', `no reply within ${timeoutMs} ms`));
      });
      this.#waits.add(stop);
      (node ?? client).call(command, [...args]).then(
        (reply) => {
          end();
          resolve(reply);
        },
        (error: unknown) => {
          end();
          reject(isReply(error) ? error : new NoReply('connection', textOf(error)));
        },
      );
    });
  }

  /** Whether the connection comes back soon; also true when the store is stopped, which the next try finds. */
  #back(): Promise<boolean> {
    const client = this.#client;
    const clock = this.#runtime?.clock;
    if (client === undefined || clock === undefined) return Promise.resolve(false);
    if (client.status === 'ready') return Promise.resolve(true);
    return new Promise((resolve) => {
      const end = (is: boolean) => (): void => {
        client.off('ready', back);
        this.#waits.delete(back);
        timer.cancel();
        resolve(is);
      };
      const back = end(true);
      const timer = clock.after(READ_AGAIN_MS, end(false));
      this.#waits.add(back);
      client.on('ready', back);
    });
  }
}

/** The refusal of a backend that is stopped. */
export function stopped(): CoordinationError {
  return new CoordinationError('STOPPED', 'The Redis backend is stopped');
}
