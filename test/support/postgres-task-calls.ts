import type { Claim, FailurePolicy, NewTask, QueueSettings, TaskStore } from '../../src/core/ports/tasks.ts';
import type { Peer } from './postgres-peers.ts';

export function task(id: string, spec: Partial<Omit<NewTask, 'id'>> = {}): NewTask {
  return {
    id,
    queue: 'work',
    type: 'step',
    payload: {},
    priority: 0,
    capabilities: [],
    weight: 1,
    dependsOn: [],
    limits: { maxCrashes: 3, keepMs: 1_000 },
    ...spec,
  };
}

export const on = (parent: string, onFailure: FailurePolicy = 'cancel'): Pick<NewTask, 'dependsOn'> => ({
  dependsOn: [{ parent, onFailure }],
});

/** What a process does with tasks. */
export function tasksOf(peer: Peer) {
  const { tasks } = peer.backend;
  const call = <T>(
    send: (store: TaskStore, op: ReturnType<Peer['next']>) => PromiseLike<T> | T,
  ): Promise<T> => peer.call(async (op) => send(tasks, op));
  return {
    add: (...added: readonly NewTask[]) => call((store, op) => store.enqueue(op, added)),
    claim: async (start = 1, agents: readonly string[] = [], limit = 1): Promise<readonly Claim[]> => {
      const offers = agents.length > 0 ? [] : [{ capabilities: [], slots: limit }];
      const { claims } = await call((store, op) =>
        store.claim(op, { offers, agents, assigned: agents.length, limit, start }),
      );
      return claims;
    },
    start: async (claims: readonly Claim[]) => (await call((store, op) => store.start(op, claims))).started,
    takeOver: async (from: 'dead' | Peer): Promise<readonly Claim[]> => {
      const { claims } = await call((store, op) =>
        store.takeover(op, {
          from: from === 'dead' ? from : { idle: from.session },
          match: 'any',
          limit: 10,
          maxMoves: 3,
          steal: 'for a test',
        }),
      );
      return claims;
    },
    complete: (claims: readonly Claim[]) =>
      call((store, op) =>
        store.settle(
          op,
          claims.map((claim) => ({ claim, as: 'complete', result: 1 }) as const),
        ),
      ),
    bury: (claims: readonly Claim[]) =>
      call((store, op) =>
        store.settle(
          op,
          claims.map((claim) => ({ claim, as: 'bury', reason: 'R', error: 'e', signature: 's' }) as const),
        ),
      ),
    configure: (settings: Partial<QueueSettings>, queue = 'work') =>
      call((store, op) =>
        store.configure(op, queue, undefined, { paused: false, ageStepMs: 10_000, ...settings }),
      ),
    sweep: () => call((store, op) => store.sweep(op, 100)),
    call,
    stateOf: async (id: string) => (await tasks.get([id]))[0]?.state,
  };
}
