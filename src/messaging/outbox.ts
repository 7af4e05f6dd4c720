import { isPromise } from '../core/awaitable.ts';
import { fitting } from '../core/call-size.ts';
import { roughBytes } from '../core/json.ts';
import { CoordinationError, isCoordinationError } from '../core/errors.ts';
import { isOfStore, type Operations } from '../core/operations.ts';
import type {
  Lost,
  MailboxSettings,
  Membership,
  MessageTransport,
  NewMessage,
  PublishResult,
} from '../core/ports/messages.ts';
import type { Awaitable } from '../core/ports/words.ts';

interface Waiting<T, R> {
  readonly item: T;
  readonly resolve: (result: R) => void;
  readonly reject: (error: unknown) => void;
}

type Queued =
  | ({ readonly kind: 'message' } & Waiting<NewMessage, PublishResult>)
  | ({ readonly kind: 'membership' } & Waiting<Membership, readonly Lost[]>);

/**
 * Sends messages and memberships in the order they were given, one call at a time, because two under way could be carried out in the
 * wrong order. While a call is under way the rest gathers and goes as one batch; a store that answers at once gets each at once.
 */
export class Outbox {
  readonly #transport: MessageTransport;
  readonly #operations: Operations;
  readonly #maxBatch: number;
  readonly #defaults: MailboxSettings;
  #queue: Queued[] = [];
  #busy = false;
  /** How many were left waiting by the batch that was sent last. */
  #behind = 0;
  #closed: Error | undefined;

  constructor(
    transport: MessageTransport,
    operations: Operations,
    settings: { readonly maxBatch: number; readonly defaults: MailboxSettings },
  ) {
    this.#transport = transport;
    this.#operations = operations;
    this.#maxBatch = settings.maxBatch;
    this.#defaults = settings.defaults;
  }

  /** @throws STOPPED when it is closed */
  publish(message: NewMessage): Awaitable<PublishResult> {
    if (this.#closed !== undefined) throw this.#closed;
    if (this.#busy)
      return new Promise((resolve, reject) => {
        this.#queue.push({ kind: 'message', item: message, resolve, reject });
      });
    const answer = this.#publish([message]);
    if (!isPromise(answer)) return answer[0] as PublishResult;
    return this.#occupy(answer).then((results) => results[0] as PublishResult);
  }

  /** @throws STOPPED when it is closed */
  subscribe(change: Membership): Awaitable<readonly Lost[]> {
    if (this.#closed !== undefined) throw this.#closed;
    if (this.#busy)
      return new Promise((resolve, reject) => {
        this.#queue.push({ kind: 'membership', item: change, resolve, reject });
      });
    const answer = this.#subscribe([change]);
    return isPromise(answer) ? this.#occupy(answer) : answer;
  }

  /** Rejects what hasn't been sent yet, and takes nothing any more. */
  close(error: Error): void {
    this.#closed = error;
    for (const { reject } of this.#queue.splice(0)) reject(error);
  }

  #publish(messages: readonly NewMessage[]): Awaitable<readonly PublishResult[]> {
    const answer = this.#operations.run((op) => this.#transport.publish(op, messages, this.#defaults));
    return isPromise(answer) ? answer.then(({ results }) => results) : answer.results;
  }

  #subscribe(changes: readonly Membership[]): Awaitable<readonly Lost[]> {
    const answer = this.#operations.run((op) => this.#transport.subscribe(op, changes));
    return isPromise(answer) ? answer.then(({ lost }) => lost) : answer.lost;
  }

  #occupy<T>(answer: Promise<T>): Promise<T> {
    this.#busy = true;
    const done = (): void => {
      this.#busy = false;
      void this.#flush();
    };
    answer.then(done, done);
    return answer;
  }

  async #flush(): Promise<void> {
    if (this.#busy || this.#queue.length === 0) return;
    this.#busy = true;
    while (this.#queue.length > 0) {
      const batch = this.#nextBatch();
      try {
        await this.#send(batch);
      } catch (error) {
        for (const { reject } of batch) reject(error);
        if (isOfStore(error)) this.#refuseBehind(error);
      }
    }
    this.#busy = false;
  }

  /**
   * The store is away: what waited all the while is refused too, for in turn each batch would be refused as late again as the one before.
   * Replies and memberships may still be of use.
   */
  #refuseBehind(error: unknown): void {
    const away = isCoordinationError(error, 'BACKEND_UNAVAILABLE') ? error : notSent(error);
    const behind = this.#queue.splice(0, this.#behind);
    this.#queue = [...behind.filter((queued) => !isUsersMessage(queued)), ...this.#queue];
    for (const queued of behind) if (isUsersMessage(queued)) queued.reject(away);
  }

  /** The longest run of one kind from the head. */
  #nextBatch(): Queued[] {
    const { kind } = this.#queue[0] as Queued;
    let length = 1;
    while (
      length < this.#queue.length &&
      length < this.#maxBatch &&
      (this.#queue[length] as Queued).kind === kind
    )
      length += 1;
    const batch = this.#queue.splice(0, fitting(this.#queue, length, bytesOf));
    this.#behind = this.#queue.length;
    return batch;
  }

  async #send(batch: readonly Queued[]): Promise<void> {
    if (batch[0]?.kind === 'message') {
      const messages = batch as readonly Extract<Queued, { kind: 'message' }>[];
      const results = await this.#publish(messages.map(({ item }) => item));
      messages.forEach(({ resolve }, index) => resolve(results[index] as PublishResult));
      return;
    }
    const changes = batch as readonly Extract<Queued, { kind: 'membership' }>[];
    const lost = await this.#subscribe(changes.map(({ item }) => item));
    // Told once: to whom doesn't matter, all of them report it.
    changes.forEach(({ resolve }, index) => resolve(index === 0 ? lost : []));
  }
}

function bytesOf(queued: Queued): number {
  return queued.kind === 'message' ? roughBytes(queued.item.payload) + roughBytes(queued.item.headers) : 0;
}

function isUsersMessage(queued: Queued): boolean {
  return queued.kind === 'message' && queued.item.correlation === undefined;
}

function notSent(cause: unknown): CoordinationError {
  return new CoordinationError('BACKEND_UNAVAILABLE', 'The store does not answer; the message was not sent', {
    cause,
    hint: 'Send it again later.',
  });
}
