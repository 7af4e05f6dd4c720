/** What a mailbox does, said as plainly as possible: a list, searched anew for each message. The reference for the property tests. */

export interface ModelMessage {
  readonly id: string;
  readonly key: string;
  readonly priority: number;
  readonly level: number;
  readonly ttl: number;
  readonly sequence: number;
  readonly expiresAt: number;
  readonly delivery: number;
}

interface Held extends ModelMessage {
  readonly holder: string;
  readonly deadline: number;
}

interface Key {
  lastLevel: number;
  stalled: boolean;
  notBefore: number;
}

export class MailboxModel {
  waiting: ModelMessage[] = [];
  held: Held[] = [];
  dead: ModelMessage[] = [];
  readonly counts = { published: 0, delivered: 0, dropped: 0, expired: 0 };
  readonly #maxLength: number;
  readonly #keys = new Map<string, Key>();
  #sequence = 0;

  constructor(maxLength: number) {
    this.#maxLength = maxLength;
  }

  publish(id: string, key: string, priority: number, ttl: number, now: number): 'published' | 'full' {
    if (this.waiting.length >= this.#maxLength) this.expire(now);
    if (this.waiting.length >= this.#maxLength) return 'full';
    this.counts.published += 1;
    this.#enqueue(id, key, priority, ttl, now);
    return 'published';
  }

  receive(holder: string, limit: number, onePerKey: boolean, now: number, deadline: number): Held[] {
    this.reclaim(now);
    const taken: Held[] = [];
    while (taken.length < limit) {
      const next = this.#best(holder, onePerKey, now);
      if (next === undefined) break;
      this.waiting = this.waiting.filter((message) => message !== next);
      if (next.expiresAt <= now) {
        this.counts.expired += 1;
        continue;
      }
      const held = { ...next, holder, deadline };
      this.held.push(held);
      taken.push(held);
    }
    return taken;
  }

  ack(id: string): void {
    this.#release(id);
    this.counts.delivered += 1;
  }

  drop(id: string): void {
    this.#release(id);
    this.counts.dropped += 1;
  }

  bury(id: string): void {
    this.dead.push(this.#release(id));
  }

  putBack(id: string, counted: boolean, notBefore: number): void {
    const { key } = this.held.find((message) => message.id === id) as Held;
    const message = this.#release(id, true);
    const state = this.#key(key);
    const last = this.waiting.some((other) => other.key === key);
    state.lastLevel = last ? Math.min(state.lastLevel, message.level) : message.level;
    this.waiting.push({ ...message, delivery: message.delivery + (counted ? 1 : 0) });
    if (notBefore > 0) state.notBefore = notBefore;
  }

  redrive(now: number): number {
    const letters = this.dead;
    this.dead = [];
    for (const { id, key, priority, ttl } of letters) this.#enqueue(id, key, priority, ttl, now);
    return letters.length;
  }

  discard(): number {
    const { length } = this.dead;
    this.counts.dropped += length;
    this.dead = [];
    return length;
  }

  reclaim(now: number): void {
    for (const { id, deadline } of this.held) if (deadline <= now) this.putBack(id, true, 0);
  }

  /** What it held may have been handled: it comes again, counted. */
  crash(holder: string): void {
    for (const { id, holder: other } of this.held) if (other === holder) this.putBack(id, true, 0);
  }

  expire(now: number): void {
    const before = this.waiting.length;
    this.waiting = this.waiting.filter(({ expiresAt }) => expiresAt > now);
    this.counts.expired += before - this.waiting.length;
  }

  #enqueue(id: string, key: string, priority: number, ttl: number, now: number): void {
    const state = this.#key(key);
    const level = this.waiting.some((other) => other.key === key)
      ? Math.min(priority, state.lastLevel)
      : priority;
    state.lastLevel = level;
    this.#sequence += 1;
    const sequence = this.#sequence;
    this.waiting.push({ id, key, priority, level, ttl, sequence, expiresAt: now + ttl, delivery: 1 });
  }

  /** The first of each key that may be handed out now; of these the largest level, then the oldest. */
  #best(holder: string, onePerKey: boolean, now: number): ModelMessage | undefined {
    const heads = new Map<string, ModelMessage>();
    for (const message of this.waiting) {
      const head = heads.get(message.key);
      if (head === undefined || message.sequence < head.sequence) heads.set(message.key, message);
    }
    return [...heads.values()]
      .filter(({ key }) => this.#isFree(key, holder, onePerKey, now))
      .sort((a, b) => b.level - a.level || a.sequence - b.sequence)[0];
  }

  #isFree(key: string, holder: string, onePerKey: boolean, now: number): boolean {
    const { stalled, notBefore } = this.#key(key);
    const held = this.held.filter((message) => message.key === key);
    if (stalled || notBefore > now) return false;
    return held.length === 0 || (!onePerKey && held.every((message) => message.holder === holder));
  }

  #release(id: string, back = false): ModelMessage {
    const {
      holder: _holder,
      deadline: _deadline,
      ...message
    } = this.held.find((held) => held.id === id) as Held;
    this.held = this.held.filter((held) => held.id !== id);
    const state = this.#key(message.key);
    const others = this.held.some((held) => held.key === message.key);
    state.stalled = others && (state.stalled || back);
    return message;
  }

  #key(key: string): Key {
    let state = this.#keys.get(key);
    if (state === undefined) {
      state = { lastLevel: 0, stalled: false, notBefore: 0 };
      this.#keys.set(key, state);
    }
    return state;
  }
}
