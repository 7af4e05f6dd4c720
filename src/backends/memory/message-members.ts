import type { Lost, Membership } from '../../core/ports/messages.ts';
import type { BackendTime, SessionNumber } from '../../core/ports/words.ts';
import type { Listener } from './message-lane.ts';
import type { Mailbox } from './message-mailbox.ts';

/** One session's membership of one address; replaced as a whole by each change. */
export interface Member extends Listener {
  readonly session: SessionNumber;
  /** Topic → group, or the address itself without one. */
  readonly topics: ReadonlyMap<string, string | undefined>;
  readonly keepMs: number;
  /** The address's own mailbox, then those of its groups. */
  readonly sources: readonly Mailbox[];
  /** The source to begin with, so that none starves. */
  turn: number;
}

/** Where mailboxes come from. */
export interface Mailboxes {
  direct(address: string): Mailbox;
  group(topic: string, group: string): Mailbox;
}

/** Who listens where: addresses, topics and groups, by session. */
export class Members {
  readonly #mailboxes: Mailboxes;
  readonly #byAddress = new Map<string, Map<SessionNumber, Member>>();
  readonly #byTopic = new Map<string, Set<Member>>();
  /** Members of crashed sessions, and until when they are kept, µs. */
  readonly #gone = new Map<Member, number>();

  constructor(mailboxes: Mailboxes) {
    this.#mailboxes = mailboxes;
  }

  get(session: SessionNumber, address: string): Member | undefined {
    return this.#byAddress.get(address)?.get(session);
  }

  /** Members of a topic at this instant (M3). */
  ofTopic(topic: string): ReadonlySet<Member> | undefined {
    return this.#byTopic.get(topic);
  }

  /** Joins or changes. @returns what was dropped because nobody takes it any more. */
  set(session: SessionNumber, change: Membership): Lost[] {
    const own = this.#mailboxes.direct(change.address);
    if (change.mailbox !== 'leave') own.settings = change.mailbox;
    const shared = change.topics.flatMap(({ topic, group }) =>
      group === undefined ? [] : [this.#mailboxes.group(topic, group)],
    );
    const member: Member = {
      session,
      address: change.address,
      topics: new Map(change.topics.map(({ topic, group }) => [topic, group])),
      listening: change.listening,
      keepMs: change.keepMs,
      sources: [own, ...shared],
      turn: 0,
    };
    this.#adopt(change.address);
    const former = this.get(session, change.address);
    this.#add(member);
    return former === undefined ? this.#settleSources(member.sources) : this.#remove(former);
  }

  /** Ends a session's membership of an address. @returns what was dropped; its own mailbox is the caller's business. */
  leave(session: SessionNumber, address: string): Lost[] {
    const former = this.get(session, address);
    return former === undefined ? [] : this.#remove(former);
  }

  /** Whether anybody, offline or not, is a member of an address. */
  has(address: string): boolean {
    return this.#byAddress.has(address);
  }

  /** `close`: its memberships end. `expire`: they go on offline, for as long as each said. */
  endSession(session: SessionNumber, how: 'close' | 'expire', at: BackendTime): void {
    for (const sessions of this.#byAddress.values()) {
      const former = sessions.get(session);
      if (former === undefined) continue;
      if (how === 'expire' && former.keepMs > 0) {
        const offline: Member = { ...former, listening: false };
        this.#add(offline);
        this.#remove(former);
        this.#gone.set(offline, at + former.keepMs * 1_000);
      } else this.#remove(former);
    }
  }

  /** Forgets members whose session is gone for long enough. */
  prune(at: BackendTime): Lost[] {
    const lost: Lost[] = [];
    for (const [member, until] of this.#gone) {
      if (until > at) continue;
      lost.push(...this.#remove(member));
    }
    return lost;
  }

  /** A new member of an address takes the place of those whose session is gone. */
  #adopt(address: string): void {
    if (this.#gone.size === 0) return;
    for (const member of this.#byAddress.get(address)?.values() ?? []) {
      if (this.#gone.has(member)) this.#detach(member);
    }
  }

  #add(member: Member): void {
    let sessions = this.#byAddress.get(member.address);
    if (sessions === undefined) {
      sessions = new Map();
      this.#byAddress.set(member.address, sessions);
    }
    sessions.set(member.session, member);
    for (const topic of member.topics.keys()) {
      const members = this.#byTopic.get(topic);
      if (members === undefined) this.#byTopic.set(topic, new Set([member]));
      else members.add(member);
    }
    for (const source of member.sources) source.members.add(member);
  }

  #remove(member: Member): Lost[] {
    this.#detach(member);
    return this.#settleSources(member.sources);
  }

  #detach(member: Member): void {
    this.#gone.delete(member);
    const sessions = this.#byAddress.get(member.address);
    if (sessions?.get(member.session) === member) {
      sessions.delete(member.session);
      if (sessions.size === 0) this.#byAddress.delete(member.address);
    }
    for (const topic of member.topics.keys()) {
      const members = this.#byTopic.get(topic);
      members?.delete(member);
      if (members?.size === 0) this.#byTopic.delete(topic);
    }
    for (const source of member.sources) source.members.delete(member);
  }

  /** Drops what nobody will take: the mailbox of a group without members, or one that keeps nothing while nobody listens. */
  #settleSources(sources: readonly Mailbox[]): Lost[] {
    return sources.flatMap((source) => {
      if (source.settings === 'none' && !source.hasListener) return source.dropWaiting('no-receiver');
      if (source.group !== undefined && source.members.size === 0) return source.dropWaiting('left');
      return [];
    });
  }
}
