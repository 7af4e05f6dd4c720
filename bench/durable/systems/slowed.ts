import { setTimeout as sleep } from 'node:timers/promises';
import type { Backend } from '../../../src/core/ports/backend.ts';
import type { TaskStore } from '../../../src/core/ports/tasks.ts';

const SLOWED: ReadonlySet<string | symbol> = new Set(['enqueue', 'claim', 'settle', 'get']);

/** Controls: the same store whose answers come late. A bench that doesn't see that measures something else. */
export function slowed(backend: Backend, ms: () => number | Promise<number>): Backend {
  const { tasks } = backend;
  if (tasks === undefined) throw new Error('a backend without tasks');
  const late = over(tasks, (method, call) =>
    SLOWED.has(method)
      ? async (...args: unknown[]) => {
          const wait = await ms();
          const answer: unknown = await call(...args);
          await sleep(wait);
          return answer;
        }
      : call,
  );
  return withTasks(backend, late);
}

/** Controls: the same store, which claims and settles one task at a time. */
export function unbatched(backend: Backend): Backend {
  const { tasks } = backend;
  if (tasks === undefined) throw new Error('a backend without tasks');
  const single: Partial<TaskStore> = {
    claim: (op, request) =>
      tasks.claim(op, { ...request, limit: Math.min(1, request.limit), start: Math.min(1, request.start) }),
  };
  const one = withTasks(
    backend,
    over(tasks, (method, call) => (single[method as keyof TaskStore] as Call | undefined) ?? call),
  );
  return Object.defineProperty(one, 'capabilities', {
    get: () => ({ ...backend.capabilities, maxBatch: 1 }),
  });
}

type Call = (...args: unknown[]) => unknown;

function over(tasks: TaskStore, change: (method: string | symbol, call: Call) => Call): TaskStore {
  return new Proxy(tasks, {
    get(target, method) {
      const value: unknown = Reflect.get(target, method, target);
      return typeof value === 'function' ? change(method, value.bind(target) as Call) : value;
    },
  });
}

function withTasks(backend: Backend, tasks: TaskStore): Backend {
  const whole = bound(backend);
  return Object.defineProperty(whole, 'tasks', { value: tasks, enumerable: true });
}

/** Looks at the original for whatever is asked: capabilities are known only after its start. */
function bound(backend: Backend): Backend {
  const own: Record<string | symbol, unknown> = {};
  return new Proxy(own, {
    get(target, name) {
      if (name in target) return target[name];
      const value: unknown = Reflect.get(backend, name, backend);
      return typeof value === 'function' ? (value.bind(backend) as unknown) : value;
    },
    has: (target, name) => name in target || name in backend,
  }) as unknown as Backend;
}
