import { handled } from '../../core/awaitable.ts';
import type { BackendReport } from '../../core/ports/backend.ts';
import type { Runtime, Timer } from '../../core/ports/runtime.ts';
import type { ClientListener, RedisClient } from './client.ts';
import { checkDatabase, whenReady } from './connect.ts';
import { type RedisStore, stopped } from './connection.ts';
import { CrashRepair } from './crash-repair.ts';
import type { Hints } from './hints.ts';
import { openClient } from './open-client.ts';
import type { CheckedRedisOptions } from './options.ts';
import { isReply, textOf, toPortError, unavailable } from './redis-errors.ts';
import { lookAtServer } from './server-checks.ts';

/** What the next command is refused with when a connection ends without a word. */
const CLOSED = 'the connection was closed';

const MIN_PROBE_MS = 100;

type Events = Readonly<Record<string, ClientListener>>;

/** What one start opened, until it is left again. */
class Attempt {
  #leaves: (() => void)[] | undefined = [];

  /** Listens to a client, and closes it with the rest when it is ours. @throws STOPPED when everything was left meanwhile */
  use(client: RedisClient, isOurs: boolean, events: Events): void {
    for (const [name, listener] of Object.entries(events)) client.on(name, listener);
    this.onLeave(() => {
      for (const [name, listener] of Object.entries(events)) client.off(name, listener);
      if (!isOurs) return;
      // A last error must not end the process.
      client.on('error', () => undefined);
      client.disconnect();
    });
  }

  /** @throws STOPPED when everything was left meanwhile, after `leave` */
  onLeave(leave: () => void): void {
    if (this.#leaves !== undefined) {
      this.#leaves.push(leave);
      return;
    }
    leave();
    throw stopped();
  }

  leave(): void {
    for (const leave of this.#leaves ?? []) leave();
    this.#leaves = undefined;
  }
}

/** The two connections of a backend: one for commands, one that does nothing but listen. */
export class RedisConnections {
  readonly #options: CheckedRedisOptions;
  readonly #store: RedisStore;
  readonly #hints: Hints;
  readonly #users = new Set<Runtime>();
  #current: { readonly attempt: Attempt; readonly report: Promise<BackendReport> } | undefined;
  #stops = 0;

  constructor(options: CheckedRedisOptions, store: RedisStore, hints: Hints) {
    this.#options = options;
    this.#store = store;
    this.#hints = hints;
  }

  /** Connects, once for all managers that share the backend. A start that failed may be repeated. */
  start(runtime: Runtime): Promise<BackendReport> {
    if (this.#users.has(runtime) && this.#stops > 0) this.#stops -= 1;
    this.#users.add(runtime);
    if (this.#current === undefined) {
      const attempt = new Attempt();
      this.#current = { attempt, report: this.#start(runtime, attempt) };
    }
    return this.#current.report;
  }

  /** Ends both with the last manager that uses them. */
  stop(): Promise<void> {
    this.#stops += 1;
    if (this.#stops >= this.#users.size) {
      this.#stops = 0;
      this.#users.clear();
      this.#store.stop();
      this.#current?.attempt.leave();
      this.#current = undefined;
    }
    return Promise.resolve();
  }

  async #start(runtime: Runtime, attempt: Attempt): Promise<BackendReport> {
    const { connectTimeoutMs } = this.#options;
    const late = Promise.withResolvers<never>();
    const timer = runtime.clock.after(
      connectTimeoutMs,
      () => late.reject(unavailable(`${this.#store.problem} (waited ${connectTimeoutMs} ms)`)),
      true,
    );
    try {
      return await Promise.race([this.#connect(runtime, attempt), late.promise]);
    } catch (error) {
      const isStopped = this.#current?.attempt !== attempt;
      attempt.leave();
      if (isStopped) throw stopped();
      this.#current = undefined;
      this.#users.clear();
      throw error;
    } finally {
      timer.cancel();
    }
  }

  async #connect(runtime: Runtime, attempt: Attempt): Promise<BackendReport> {
    const repair = new CrashRepair(this.#store, runtime);
    attempt.onLeave(() => repair.stop());
    const commands = await this.#commands(runtime, attempt, repair);
    await whenReady(commands);
    if (this.#options.way === 'client') await checkDatabase(commands, this.#store);
    await this.#listen(runtime, attempt, commands);
    return lookAtServer(
      this.#store,
      () => runtime.clock.wall(),
      () => repair.begin(),
    );
  }

  async #commands(runtime: Runtime, attempt: Attempt, repair: CrashRepair): Promise<RedisClient> {
    const { client: given } = this.#options.given;
    const client = given ?? (await openClient(this.#options, runtime));
    let known = client.status === 'ready';
    attempt.use(client, given === undefined, {
      ready: () => {
        this.#store.problem = CLOSED;
        this.#store.reconnected();
        if (known) {
          this.#hints.send({ about: 'reconnected' });
          repair.look();
        }
        known = true;
      },
      error: (error: unknown) => {
        this.#store.problem = textOf(error);
      },
    });
    this.#store.use(client, runtime, () => repair.look());
    return client;
  }

  /** Subscribes at each connection anew; from the second on anything may have been missed. */
  async #listen(runtime: Runtime, attempt: Attempt, commands: RedisClient): Promise<void> {
    const { client: given, subscriber } = this.#options.given;
    const another = (): RedisClient | Promise<RedisClient> =>
      given === undefined ? openClient(this.#options, runtime) : commands.duplicate();
    const client = subscriber ?? (await another());
    const channel = `${this.#store.tag}hints`;
    const first = Promise.withResolvers<void>();
    handled(first.promise);
    let known = false;
    const subscribed = (): void => {
      if (known) this.#hints.send({ about: 'reconnected' });
      known = true;
      first.resolve();
    };
    const subscribe = (): void => {
      client.subscribe(channel).then(subscribed, (error: unknown) => {
        // When it breaks again meanwhile, the next connection subscribes. A refusal is for ever.
        if (isReply(error)) first.reject(toPortError(error, 'read'));
      });
    };
    attempt.use(client, subscriber === undefined, {
      ready: subscribe,
      error: () => undefined,
      message: (from: string, text: string) => {
        if (from === channel) this.#hints.received(text);
      },
    });
    if (client === subscriber)
      attempt.onLeave(() => {
        if (client.status === 'ready') handled(client.unsubscribe(channel));
      });
    if (client.status === 'ready') subscribe();
    await whenReady(client);
    await first.promise;
    this.#probe(runtime, attempt, client);
  }

  /** Who only listens doesn't notice a black hole: a question now and then makes the client see that no answer comes. */
  #probe(runtime: Runtime, attempt: Attempt, client: RedisClient): void {
    let timer: Timer;
    const ask = (): void => {
      timer = runtime.clock.after(Math.max(MIN_PROBE_MS, this.#options.commandTimeoutMs), ask);
      if (client.status === 'ready') handled(client.call('ping', []));
    };
    ask();
    attempt.onLeave(() => timer.cancel());
  }
}
