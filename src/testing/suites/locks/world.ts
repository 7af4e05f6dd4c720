import assert from 'node:assert/strict';
import type {
  Grant,
  LockAnswer,
  LockItem,
  LockMode,
  LockRelease,
  LockRequest,
  LockStore,
  Owner,
} from '../../../core/ports/locks.ts';
import type { BackendTime, Token } from '../../../core/ports/words.ts';
import { type Caller, openCaller } from '../caller.ts';
import type { SuiteEnvironment } from '../suite.ts';

export const ORDER = { ageStepMs: 10_000, maxOvertakes: 32 };

/** What a test asks for beside resources. */
export interface Wish extends Partial<Omit<LockRequest, 'id' | 'items' | 'owner'>> {
  readonly agent?: string;
  readonly owner?: string;
  readonly since?: number;
  readonly defeats?: number;
}

/** A lock store with one process that uses it, in few words. */
export class LockWorld {
  readonly store: LockStore;
  readonly env: SuiteEnvironment;
  readonly caller: Caller;

  constructor(env: SuiteEnvironment, caller: Caller) {
    const { locks } = env.backend;
    assert.ok(locks !== undefined, 'the backend has locks');
    this.store = locks;
    this.env = env;
    this.caller = caller;
  }

  /** The same store, used by another process. */
  async other(boot: string, leaseMs?: number): Promise<LockWorld> {
    return new LockWorld(this.env, await openCaller(this.env, boot, leaseMs));
  }

  /** Asks for resources under an id, which is also the owner's unless said otherwise. */
  async ask(id: string, what: string | readonly LockItem[], wish: Wish = {}): Promise<LockAnswer> {
    const { answers } = await this.store.request(this.caller.op(), [requestOf(id, what, wish)]);
    return answers[0] as LockAnswer;
  }

  async take(id: string, what: string | readonly LockItem[], wish: Wish = {}): Promise<Grant> {
    return granted(await this.ask(id, what, wish), id);
  }

  async wait(
    id: string,
    what: string | readonly LockItem[],
    wish: Wish = {},
  ): Promise<Extract<LockAnswer, { status: 'waiting' }>> {
    const answer = await this.ask(id, what, wish);
    assert.equal(answer.status, 'waiting', `${id} waits`);
    return answer;
  }

  async keep(id: string, token?: Token): Promise<LockAnswer> {
    const { answers } = await this.store.keep(this.caller.session, [
      { id, ...(token === undefined ? {} : { token }) },
    ]);
    return answers[0] as LockAnswer;
  }

  async release(...items: readonly LockRelease[]): Promise<{ ended: boolean[]; granted: string[] }> {
    const { ended, granted: ids } = await this.store.release(this.caller.op(), items);
    return { ended: [...ended], granted: [...ids] };
  }

  /** Who is waiting for a resource, next first. */
  async queue(resource: string): Promise<string[]> {
    const { resources } = await this.store.snapshot();
    const row = resources.find((known) => known.resource === resource);
    return row?.queue.map(({ wait }) => wait.id) ?? [];
  }

  /** Everything held or waited for. */
  async rows(): Promise<number> {
    return (await this.store.list({}, { limit: 100 })).items.length;
  }
}

export function requestOf(id: string, what: string | readonly LockItem[], wish: Wish): LockRequest {
  const { agent, owner = id, since = 0, defeats = 0, ...rest } = wish;
  const priority = rest.priority ?? 2;
  const person: Owner = { id: owner, agent, priority, since: since as BackendTime, defeats };
  return {
    id,
    items: typeof what === 'string' ? [{ resource: what, mode: 'exclusive' }] : what,
    order: ORDER,
    wait: true,
    lease: 'session',
    reentrant: false,
    ...rest,
    owner: person,
    priority,
  };
}

export function item(resource: string, mode: LockMode = 'exclusive'): readonly LockItem[] {
  return [{ resource, mode }];
}

export function units(resource: string, count: number, of: number): readonly LockItem[] {
  return [{ resource, mode: { units: count, of } }];
}

export function granted(answer: LockAnswer, id = 'it'): Grant {
  assert.equal(answer.status, 'granted', `${id} is granted`);
  return answer;
}
