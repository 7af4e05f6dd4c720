import type { Hint } from '../../core/ports/backend.ts';
import type { Runtime, Timer } from '../../core/ports/runtime.ts';
import type { ListeningClient } from './driver.ts';
import { hintAbout, hintKey, HintListeners, nameOf } from '../../core/hint-listeners.ts';

/** Least time between two notifications: hints that come meanwhile go out together, ms. */
const GATHER_MS = 3;
/** Hints of a caller's transaction go out after this, ms, when it has probably committed. */
const LATER_MS = 50;
/** The server refuses payloads of 8,000 bytes. */
const MAX_PAYLOAD_BYTES = 7_900;
/** Pause before the listening connection is opened again, ms: grows from the first to the second. */
const AGAIN_MS = 50;
const MAX_AGAIN_MS = 5_000;
/** A connection that hears nothing is asked whether it lives this often, ms. */
const PROBE_MS = 15_000;

export interface HintChannelParts {
  readonly runtime: Runtime;
  readonly listeners: HintListeners;
  /** Sends payloads on any connection; each is one notification. */
  readonly notify: (channel: string, payloads: readonly string[]) => Promise<unknown>;
  /** A connection of its own for listening; `undefined` when nothing shall be listened to. */
  readonly connect: (() => Promise<ListeningClient & { readonly close: () => void }>) | undefined;
  readonly commandTimeoutMs: number;
  /** Called when the listening connection is lost, and again when it is back. */
  readonly onState: (listening: boolean, reason?: string) => void;
}

/**
 * Wakes other processes: after a pause hints go out at once, then in a notification that gathers what comes within a few ms, one at a time;
 * they come in on one connection however many listen. What this process says itself it hears at once, and not again.
 */
export class HintChannel {
  readonly #parts: HintChannelParts;
  readonly #sender: string;
  #channel: string | undefined;
  #waiting = new Map<string, Hint>();
  #local = new Map<string, Hint>();
  #sending = false;
  #isDue = false;
  #sentAt = Number.NEGATIVE_INFINITY;
  #gather: Timer | undefined;
  #stopped = false;
  #failures = 0;
  #again: Timer | undefined;
  #probe: Timer | undefined;
  #client: (ListeningClient & { readonly close: () => void }) | undefined;
  readonly #later = new Set<Timer>();

  constructor(parts: HintChannelParts) {
    this.#parts = parts;
    this.#sender = Math.floor(parts.runtime.random.next() * 2 ** 48).toString(36);
  }

  /** Begins to listen. Resolves once it does, or when the first try failed: then it is tried again in the background. */
  async start(channel: string): Promise<void> {
    this.#channel = channel;
    await this.#listen(false);
  }

  stop(): void {
    this.#stopped = true;
    this.#gather?.cancel();
    this.#again?.cancel();
    this.#probe?.cancel();
    for (const timer of this.#later) timer.cancel();
    this.#waiting.clear();
    const client = this.#client;
    this.#client = undefined;
    client?.close();
  }

  send(hints: readonly Hint[], later: boolean): void {
    if (this.#stopped) return;
    if (later) {
      const timer = this.#parts.runtime.clock.after(LATER_MS, () => {
        this.#later.delete(timer);
        this.send(hints, false);
      });
      this.#later.add(timer);
      return;
    }
    if (this.#local.size === 0) queueMicrotask(() => this.#tellLocal());
    for (const hint of hints) {
      const key = hintKey(hint);
      this.#local.set(key, hint);
      this.#waiting.set(key, hint);
    }
    this.#schedule();
  }

  #tellLocal(): void {
    const hints = this.#local;
    this.#local = new Map();
    if (!this.#stopped) this.#parts.listeners.tell(hints.values());
  }

  #schedule(): void {
    if (this.#isDue || this.#sending || this.#waiting.size === 0 || this.#stopped) return;
    this.#isDue = true;
    const { clock } = this.#parts.runtime;
    const go = (): void => {
      this.#isDue = false;
      void this.#flush();
    };
    const restMs = this.#sentAt + GATHER_MS - clock.mono();
    if (restMs > 0) this.#gather = clock.after(restMs, go);
    // What else this turn of the loop has to say goes with it.
    else clock.soon(go);
  }

  async #flush(): Promise<void> {
    const channel = this.#channel;
    if (channel === undefined || this.#stopped) return;
    const payloads = payloadsOf(this.#sender, this.#waiting.values());
    this.#waiting = new Map();
    this.#sending = true;
    this.#sentAt = this.#parts.runtime.clock.mono();
    try {
      await this.#parts.notify(channel, payloads);
    } catch {
      // A hint may be lost: everybody polls as well.
    } finally {
      this.#sending = false;
      this.#schedule();
    }
  }

  async #listen(again: boolean): Promise<void> {
    const { connect, onState, listeners } = this.#parts;
    if (connect === undefined || this.#stopped) return;
    try {
      const client = await connect();
      if (this.#isStopped()) {
        client.close();
        return;
      }
      client.on('notification', ({ payload }) => this.#heard(payload));
      client.on('error', () => this.#lost(client, 'the connection failed'));
      client.on('end', () => this.#lost(client, 'the connection was closed'));
      this.#client = client;
      await client.query({ text: `listen ${this.#channel}` });
      if (this.#client !== client) return;
      this.#failures = 0;
      this.#probeLater(client);
      if (again) {
        onState(true);
        listeners.tell([{ about: 'reconnected' }]);
      }
    } catch (error) {
      this.#drop(this.#client);
      this.#retry(error instanceof Error ? error.message : String(error));
    }
  }

  #isStopped(): boolean {
    return this.#stopped;
  }

  #lost(client: ListeningClient & { readonly close: () => void }, reason: string): void {
    if (this.#client !== client) return;
    this.#drop(client);
    this.#retry(reason);
  }

  #drop(client: (ListeningClient & { readonly close: () => void }) | undefined): void {
    this.#client = undefined;
    this.#probe?.cancel();
    client?.close();
  }

  #retry(reason: string): void {
    if (this.#stopped || this.#again !== undefined) return;
    if (this.#failures === 0) this.#parts.onState(false, reason);
    const { clock, random } = this.#parts.runtime;
    const most = Math.min(AGAIN_MS * 2 ** this.#failures++, MAX_AGAIN_MS);
    this.#again = clock.after(most * (0.5 + random.next() / 2), () => {
      this.#again = undefined;
      void this.#listen(true);
    });
  }

  /** A network that swallows everything closes nothing: a listener would wait for ever. */
  #probeLater(client: ListeningClient & { readonly close: () => void }): void {
    const { clock } = this.#parts.runtime;
    this.#probe = clock.after(PROBE_MS, () => {
      const limit = clock.after(this.#parts.commandTimeoutMs, () => this.#lost(client, 'it does not answer'));
      client.query({ text: 'select 1' }).then(
        () => {
          limit.cancel();
          if (this.#client === client) this.#probeLater(client);
        },
        () => {
          limit.cancel();
          this.#lost(client, 'it does not answer');
        },
      );
    });
  }

  #heard(payload: string | undefined): void {
    const message = readPayload(payload);
    if (message === undefined || message.sender === this.#sender || this.#stopped) return;
    this.#parts.listeners.tell(message.hints);
  }
}

/** Payloads below the server's limit: sender, then kind and names, as JSON. */
export function payloadsOf(sender: string, hints: Iterable<Hint>): string[] {
  const payloads: string[] = [];
  let items: string[] = [];
  let bytes = 0;
  const close = (): void => {
    if (items.length > 0) payloads.push(`[${JSON.stringify(sender)},${items.join(',')}]`);
    items = [];
    bytes = 64;
  };
  close();
  for (const hint of hints) {
    const request = hint.about === 'locks' && hint.request !== undefined ? [hint.request] : [];
    let item = JSON.stringify([hint.about, nameOf(hint) ?? '', ...request]);
    // A name that is too long for a notification wakes all of its kind.
    if (Buffer.byteLength(item) > MAX_PAYLOAD_BYTES / 2) item = JSON.stringify([hint.about, '*']);
    const more = Buffer.byteLength(item) + 1;
    if (bytes + more > MAX_PAYLOAD_BYTES) close();
    items.push(item);
    bytes += more;
  }
  close();
  return payloads;
}

/** What a payload says; `undefined` for what nobody of ours wrote. */
export function readPayload(
  payload: string | undefined,
): { readonly sender: unknown; readonly hints: readonly Hint[] } | undefined {
  try {
    const [sender, ...items] = JSON.parse(payload ?? '') as [
      unknown,
      ...(readonly [string, string, string?])[],
    ];
    const hints = items.map(([about, name, request]) => hintAbout(String(about), String(name), request));
    return { sender, hints: hints.filter((hint) => hint !== undefined) };
  } catch {
    return undefined;
  }
}
