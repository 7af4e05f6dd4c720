/** Called with whatever the client's event carries. */
// oxlint-disable-next-line typescript/no-explicit-any
export type ClientListener = (...args: any[]) => void;

/**
 * What the backend needs of a client: an `ioredis` Redis or Cluster fits. All commands go through `call`, so that another client with a
 * little shim fits too.
 */
export interface RedisClient {
  /** `ready` while commands can be sent, `wait` before `connect`, `end` when it won't come back. */
  readonly status: string;
  /** Read for its `keyPrefix`, which there must not be, and the number of its database. */
  readonly options?: { readonly keyPrefix?: string | undefined; readonly db?: number | undefined };
  call(command: string, args: (string | number | Buffer)[]): Promise<unknown>;
  connect(): Promise<unknown>;
  disconnect(): void;
  /** Of a cluster: its nodes. */
  nodes?(role: 'master'): readonly RedisClient[];
  /** Another connection to the same place. */
  duplicate(): RedisClient;
  subscribe(channel: string): Promise<unknown>;
  unsubscribe(channel: string): Promise<unknown>;
  /** Events: `ready`, `end`, `error` (error), `message` (channel, text). */
  on(event: string, listener: ClientListener): unknown;
  off(event: string, listener: ClientListener): unknown;
}
