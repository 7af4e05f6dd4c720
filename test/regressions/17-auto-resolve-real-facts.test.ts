import { expect, test } from 'vitest';
import { EventBus } from '../../src/core/event-bus.ts';
import { ConflictResolver } from '../../src/conflicts/conflict-resolver.ts';

/** Defect 17: `autoResolve` invented its inputs (always the first, always the last, TypeError). A resolution moved nothing. */

export interface Resolver {
  reportResourceConflict(resource: string, agents: readonly string[]): Promise<{ readonly id: string }>;
  autoResolve(id: string, strategy?: string): Promise<{ readonly winner: string }>;
}

interface Mesh {
  /** What is really so. */
  readonly priorities: Map<string, number>;
  readonly askedAt: Map<string, Date>;
  /** Holder of each resource. */
  readonly locks: Map<string, string>;
}

/**
 * Throws when a winner isn't the one that the facts name, when the lock isn't his afterwards, or when somebody wins all the same without
 * facts, or while they are known of some of the agents only.
 */
export async function scenario(create: (mesh: Mesh) => Resolver): Promise<void> {
  const mesh: Mesh = { priorities: new Map(), askedAt: new Map(), locks: new Map([['file', 'agent3']]) };
  const resolver = create(mesh);
  const decide = async (strategy?: string): Promise<string> => {
    const { id } = await resolver.reportResourceConflict('file', ['agent1', 'agent2', 'agent3']);
    try {
      return (await resolver.autoResolve(id, strategy)).winner;
    } catch (error) {
      return (error as { code?: string }).code ?? String(error);
    }
  };
  const expectWinner = (expected: string, found: string): void => {
    if (found !== expected) throw new Error(`${found} instead of ${expected}`);
    if (mesh.locks.get('file') !== expected)
      throw new Error(`${expected} won, ${mesh.locks.get('file')} holds the lock`);
  };

  const unknown = await decide();
  if (unknown !== 'CONFLICT_ESCALATED') throw new Error(`without facts: ${unknown}`);
  mesh.priorities.set('agent2', 5).set('agent1', 0);
  const partly = await decide('priority');
  if (partly !== 'CONFLICT_ESCALATED') throw new Error(`with facts about two of three: ${partly}`);
  mesh.priorities.set('agent3', 0);
  expectWinner('agent2', await decide('priority'));
  mesh.askedAt.set('agent3', new Date(1)).set('agent1', new Date(2)).set('agent2', new Date(3));
  expectWinner('agent3', await decide('timestamp'));
}

/** Makes priorities up from the position in the list, and only records. */
function naiveResolver(): Resolver {
  const conflicts = new Map<string, readonly string[]>();
  return {
    async reportResourceConflict(_, agents) {
      const id = `conflict-${conflicts.size}`;
      conflicts.set(id, agents);
      return { id };
    },
    async autoResolve(id, strategy = 'priority') {
      const agents = conflicts.get(id) as readonly string[];
      return { winner: (strategy === 'priority' ? agents[0] : agents.at(-1)) as string };
    },
  };
}

/** As {@link naiveResolver}, but decides from what is so; the lock stays where it is. */
function idleResolver(mesh: Mesh): Resolver {
  return new ConflictResolver(undefined, undefined, {
    facts: () => ({ agentPriorities: mesh.priorities, requestTimestamps: mesh.askedAt }),
  });
}

test('defect 17: the naive resolver lets somebody win without facts', async () => {
  await expect(scenario(naiveResolver)).rejects.toThrow('without facts: agent1');
});

test('defect 17: a resolver that moves nothing fails too', async () => {
  await expect(scenario(idleResolver)).rejects.toThrow('agent2 won, agent3 holds the lock');
});

test('defect 17: ConflictResolver decides from facts, moves the lock, and escalates without them', async () => {
  const bus = new EventBus();
  const escalated: string[] = [];
  bus.on('conflict:escalated', ({ reason }) => void escalated.push(reason));
  await scenario(
    (mesh) =>
      new ConflictResolver(undefined, bus, {
        facts: () => ({ agentPriorities: mesh.priorities, requestTimestamps: mesh.askedAt }),
        apply: ({ winner }, { subject }) => void mesh.locks.set(subject, winner),
      }),
  );
  expect(escalated).toEqual([
    'nothing is known that could decide it',
    'priority: the priority of agent3 is not known',
  ]);
});
