import { AgentIndex } from './agent-index.ts';
import type { Member } from './pool-member.ts';

/** Who sits where: a seat is an agent's bit in every row, given in order of registration. */
export class Seats {
  readonly index: AgentIndex = new AgentIndex();
  readonly agents: Map<string, Member> = new Map();
  /** By seat; those of agents that went stay empty. */
  members: (Member | undefined)[] = [];
  /** Changes when seats are given anew. */
  version = 0;

  seatOf(id: string): number | undefined {
    return this.agents.get(id)?.seat;
  }

  /** A seat for one more. When none is left: those of agents that went, if that is half of them, else new ones. */
  next(): number {
    if (this.members.length === this.index.words * 32) this.#makeRoom();
    return this.members.length;
  }

  take(member: Member): void {
    this.members.push(member);
    this.agents.set(member.id, member);
  }

  give(member: Member): void {
    this.members[member.seat] = undefined;
    this.agents.delete(member.id);
  }

  #makeRoom(): void {
    if (this.agents.size * 2 > this.members.length) {
      this.index.grow(this.index.words * 2);
      return;
    }
    this.index.clear();
    this.members = [...this.agents.values()];
    this.version += 1;
    this.members.forEach((member, seat) => {
      if (member === undefined) return;
      member.seat = seat;
      if (!member.draining) this.index.insert(seat, member.level);
    });
  }
}
