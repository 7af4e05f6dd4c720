import type { LockRequest, LockStore } from '../../../src/core/ports/locks.ts';
import type { Awaitable } from '../../../src/core/ports/words.ts';

/** Lets a call happen, and its answer arrive, when it says so. */
export type Travel = <T>(label: string, call: () => T) => Promise<T>;

/** A lock store as it looks from across a network: late answers, no narrow ways, nobody is told of anything. */
export function remoteLocks(store: LockStore, travel: Travel): LockStore {
  const far = <A extends readonly unknown[], R>(label: string, method: (...args: A) => Awaitable<R>) => {
    return async (...args: A): Promise<R> => travel(label, () => method.apply(store, args as never) as R);
  };
  return {
    request: far('request', (op, requests) => store.request(op, requests.map(deaf))),
    keep: far('keep', (session, refs) => store.keep(session, refs)),
    release: far('release', (op, items) => store.release(op, items)),
    publish: far('publish', (session, edges) => store.publish(session, edges)),
    snapshot: far('snapshot', (around) => store.snapshot(around)),
    abort: far('abort', (op, wait, cycle, witnesses) => store.abort(op, wait, cycle, witnesses)),
    list: far('list', (filter, page) => store.list(filter, page)),
  };
}

/** As text over a wire: plain values, and no listener. */
function deaf(request: LockRequest): LockRequest {
  const { id, items, owner, priority, order, wait, lease, upgradeOf, reentrant } = request;
  const { id: name, agent, task, since, defeats } = owner;
  const person = { id: name, agent, task, priority: owner.priority, since, defeats };
  const ref = upgradeOf === undefined ? {} : { upgradeOf: { id: upgradeOf.id, token: upgradeOf.token } };
  return { id, items, owner: person, priority, order, wait, lease, reentrant, ...ref };
}
