import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/**
 * A TCP proxy of this process that misbehaves on demand, in front of any server (Redis, PostgreSQL, Kafka): it looks at no protocol. Put its
 * `port` in place of the server's, then:
 *
 * | call | what the client sees | what the server does |
 * |---|---|---|
 * | `cutReplies(n)` | its connection is reset when the answer comes | carries the request out: the outcome is unknown |
 * | `cutRequests(n)` | its connection is reset | never hears of the request |
 * | `cutAll()` | all connections are reset now | may or may not have heard |
 * | `be('held')` | nothing comes, nothing fails: a black hole, a partition, a stopped process | nothing comes either |
 * | `be('refusing')` | connections are reset as they are made, those there were too | nothing |
 * | `be({ delayMs })` | everything takes so much longer, each way | |
 * | `be('forwarding')` | back to normal | gets what was held, late, as after a partition of a real network |
 *
 * ```ts
 * await using proxy = await startFaultProxy({ port: server.port });
 * const backend = redis({ url: `redis://127.0.0.1:${proxy.port}` });
 * proxy.cutReplies(1, (request) => request.includes('EVALSHA'));
 * ```
 *
 * A whole run of faults from a seed: call these from a loop with a seeded random; `cuts` counts what really was cut.
 */
export interface FaultProxy extends AsyncDisposable {
  /** Where clients connect, on 127.0.0.1. */
  readonly port: number;
  /** Connections that are open now. */
  readonly connections: number;
  /** Connections that were made so far. */
  readonly accepted: number;
  /** Replies and requests cut so far. */
  readonly cuts: number;
  /** How it treats bytes from now on, those of open connections too. */
  be(manner: ProxyManner): void;
  /**
   * The next `count` requests of any connection pass, but their connection is reset instead of answered. Only requests that `matches` says yes to
   * count; it sees raw chunks, each with one request or several. @default every request
   */
  cutReplies(count: number, matches?: (request: Buffer) => boolean): void;
  /** The next `count` requests don't pass: their connection is reset. */
  cutRequests(count: number, matches?: (request: Buffer) => boolean): void;
  /** Resets all connections that are open. New ones are made as before. */
  cutAll(): void;
  /** Resets everything and stops listening. */
  close(): Promise<void>;
}

export type ProxyManner = 'forwarding' | 'held' | 'refusing' | { readonly delayMs: number };

export interface FaultProxyOptions {
  /** Port of the server behind it. */
  readonly port: number;
  /** @default '127.0.0.1' */
  readonly host?: string;
}

interface Cut {
  left: number;
  readonly matches: (request: Buffer) => boolean;
}

/** One client and its connection to the server. */
class Pair {
  readonly #client: Socket;
  readonly #server: Socket;
  /** A request passed whose answer must not. */
  #doomed = false;
  readonly #proxy: ProxyState;

  constructor(client: Socket, server: Socket, proxy: ProxyState) {
    this.#client = client;
    this.#server = server;
    this.#proxy = proxy;
    for (const socket of [client, server]) {
      socket.setNoDelay(true);
      socket.on('error', () => this.reset());
      socket.on('close', () => this.reset());
    }
    client.on('data', (chunk: Buffer) => this.#request(chunk));
    server.on('data', (chunk: Buffer) => this.#reply(chunk));
  }

  reset(): void {
    this.#proxy.pairs.delete(this);
    this.#client.resetAndDestroy();
    this.#server.resetAndDestroy();
  }

  /** Takes no bytes: they wait in the sockets, and the end of a connection behind them. */
  hold(held: boolean): void {
    for (const socket of [this.#client, this.#server]) {
      if (held) socket.pause();
      else socket.resume();
    }
  }

  #request(chunk: Buffer): void {
    if (this.#proxy.takes('requests', chunk)) {
      this.reset();
      return;
    }
    if (this.#proxy.takes('replies', chunk)) this.#doomed = true;
    this.#pass(this.#server, chunk);
  }

  #reply(chunk: Buffer): void {
    if (this.#doomed) this.reset();
    else this.#pass(this.#client, chunk);
  }

  #pass(to: Socket, chunk: Buffer): void {
    const { delayMs } = this.#proxy;
    if (delayMs === 0) {
      to.write(chunk);
      return;
    }
    // Timers of one length fire in order, so bytes stay in order.
    setTimeout(() => {
      if (!to.destroyed) to.write(chunk);
    }, delayMs);
  }
}

class ProxyState {
  readonly pairs = new Set<Pair>();
  readonly #cuts: Record<'requests' | 'replies', Cut | undefined> = {
    requests: undefined,
    replies: undefined,
  };
  delayMs = 0;
  cut = 0;

  plan(what: 'requests' | 'replies', count: number, matches: (request: Buffer) => boolean): void {
    this.#cuts[what] = { left: count, matches };
  }

  /** Whether this request is one of those to be cut. */
  takes(what: 'requests' | 'replies', request: Buffer): boolean {
    const cut = this.#cuts[what];
    if (cut === undefined || cut.left === 0 || !cut.matches(request)) return false;
    cut.left -= 1;
    this.cut += 1;
    return true;
  }
}

/** Starts a proxy on a free port of 127.0.0.1. It forwards until told otherwise. */
export async function startFaultProxy({ port, host = '127.0.0.1' }: FaultProxyOptions): Promise<FaultProxy> {
  const state = new ProxyState();
  let manner: ProxyManner = 'forwarding';
  let accepted = 0;
  const server = createServer((client) => {
    accepted += 1;
    if (manner === 'refusing') {
      client.on('error', () => undefined);
      client.resetAndDestroy();
      return;
    }
    const pair = new Pair(client, connect(port, host), state);
    state.pairs.add(pair);
    if (manner === 'held') pair.hold(true);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const cutAll = (): void => {
    for (const pair of state.pairs) pair.reset();
  };
  const close = async (): Promise<void> => {
    if (!server.listening) return;
    server.close();
    cutAll();
    await once(server, 'close');
  };
  const every = (): boolean => true;
  return {
    port: (server.address() as AddressInfo).port,
    get connections() {
      return state.pairs.size;
    },
    get accepted() {
      return accepted;
    },
    get cuts() {
      return state.cut;
    },
    be(next) {
      manner = next;
      state.delayMs = typeof next === 'object' ? next.delayMs : 0;
      if (next === 'refusing') cutAll();
      else for (const pair of state.pairs) pair.hold(next === 'held');
    },
    cutReplies: (count, matches = every) => state.plan('replies', count, matches),
    cutRequests: (count, matches = every) => state.plan('requests', count, matches),
    cutAll,
    close,
    [Symbol.asyncDispose]: close,
  };
}
