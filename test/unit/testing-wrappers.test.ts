import { describe, expect, test } from 'vitest';
import { memory } from '../../src/backends/memory/memory.ts';
import type { Backend, Hint } from '../../src/core/ports/backend.ts';
import type { StateStore } from '../../src/core/ports/state.ts';
import type { Operation, SessionNumber } from '../../src/core/ports/words.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import { REPORT } from '../../src/testing/suites/caller.ts';
import { newMessage, ROOMY } from '../../src/testing/suites/messages/harness.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';
import { delayed, duplicating, hintless, replyCutting, retrying } from '../../src/testing/wrappers.ts';

const swap = { key: 'part/x', expected: 0, value: 1 };

function started(): { readonly backend: Backend; readonly state: StateStore; op(): Operation } {
  const backend = memory({ shared: true });
  backend.start(createRuntime({ clock: createTestClock() }));
  const { session } = backend.sessions.open({ boot: 'b', leaseMs: 1e9, writer: 1, report: REPORT });
  let sequence = 0;
  return { backend, state: backend.state, op: () => ({ session, sequence: ++sequence }) };
}

function stateOf(backend: Backend): StateStore {
  return backend.state as StateStore;
}

describe('replyCutting', () => {
  test('carries out the first call of each method of a session, and loses its answer only', async () => {
    const { backend, state, op } = started();
    const cutting = replyCutting(backend);
    const first = op();
    expect(() => stateOf(cutting).compareAndSet(first, [swap])).toThrow(
      expect.objectContaining({ code: 'OUTCOME_UNKNOWN' }),
    );
    expect((await state.get(['part/x'])).entries[0]?.value).toBe(1);
    expect(await stateOf(cutting).compareAndSet(first, [swap])).toMatchObject({ swapped: true });
    expect([...cutting.cuts]).toEqual([['state.compareAndSet', 1]]);
    const other = backend.sessions?.open({ boot: 'other', leaseMs: 1e9, writer: 1, report: REPORT });
    const { session } = (await other) as { session: SessionNumber };
    expect(() => stateOf(cutting).compareAndSet({ session, sequence: 1 }, [swap])).toThrow('was cut');
    expect(cutting.cuts.get('state.compareAndSet')).toBe(2);
  });

  test('rejects where the backend answers later', async () => {
    const { backend, op } = started();
    const late = { ...backend, state: { compareAndSet: async () => 'answer' } as unknown as StateStore };
    await expect(stateOf(replyCutting(late)).compareAndSet(op(), [swap])).rejects.toMatchObject({
      code: 'OUTCOME_UNKNOWN',
    });
  });

  test('retrying repeats the same operation until it is answered, and passes other errors on', async () => {
    const { backend, op } = started();
    const both = retrying(replyCutting(backend));
    expect(await stateOf(both).compareAndSet(op(), [swap])).toMatchObject({ swapped: true });
    await both.stop();
    expect(() => stateOf(both).compareAndSet(op(), [swap])).toThrow(
      expect.objectContaining({ code: 'STOPPED' }),
    );
    let tries = 0;
    const deaf = {
      ...backend,
      state: {
        get: () => {
          tries += 1;
          throw Object.assign(new Error('lost'), { code: 'OUTCOME_UNKNOWN' });
        },
      } as unknown as StateStore,
    };
    expect(() => stateOf(retrying(deaf, 4)).get(['x'])).toThrow('lost');
    expect(tries).toBe(4);
  });
});

describe('duplicating', () => {
  test('finds a store that executes an operation twice', async () => {
    const { backend, op } = started();
    let executed = 0;
    const forgetful = {
      ...backend,
      state: { compareAndSet: () => ({ swapped: ++executed === 1 }) } as unknown as StateStore,
    };
    await expect(stateOf(duplicating(forgetful)).compareAndSet(op(), [swap])).rejects.toThrow('deep-equal');
    await expect(stateOf(duplicating(backend)).compareAndSet(op(), [swap])).resolves.toMatchObject({
      swapped: true,
    });
  });

  test('passes a refusal on that is the same twice', async () => {
    const { backend } = started();
    const stranger = { session: 99 as SessionNumber, sequence: 1 };
    await expect(stateOf(duplicating(backend)).compareAndSet(stranger, [swap])).rejects.toMatchObject({
      code: 'SESSION_EXPIRED',
    });
  });
});

describe('delayed', () => {
  test('answers by a promise after time on its clock, out of order, but publishes in order', async () => {
    const { backend, op } = started();
    const clock = createTestClock();
    const late = delayed(backend, { clock, random: createRandom('delayed'), maxMs: 100 });
    const order: number[] = [];
    const calls = Array.from({ length: 20 }, (_, n) =>
      Promise.resolve(stateOf(late).get([`part/${n}`])).then(() => order.push(n)),
    );
    await clock.settle();
    expect(order).toEqual([]);
    await clock.advance(250);
    await Promise.all(calls);
    expect(order).not.toEqual(order.toSorted((a, b) => a - b));
    const { messages } = late;
    const published = Array.from({ length: 20 }, async (_, n) =>
      messages?.publish(op(), [newMessage({ id: `m${n}` })], ROOMY),
    );
    await clock.advance(5_000);
    await Promise.all(published);
    const { items } = (await backend.messages?.list({ messages: 'waiting' }, { limit: 100 })) ?? {
      items: [],
    };
    expect(items[0]?.messages.map(({ message }) => message.id)).toEqual(
      Array.from({ length: 20 }, (_, n) => `m${n}`),
    );
  });

  test('stop rejects what is under way with STOPPED', async () => {
    const { backend } = started();
    const clock = createTestClock();
    const late = delayed(backend, { clock, random: createRandom('stop'), maxMs: 1_000 });
    const pending = expect(stateOf(late).get(['part/x'])).rejects.toMatchObject({ code: 'STOPPED' });
    await clock.settle();
    await late.stop();
    await pending;
    expect((await late.check()).healthy).toBe(false);
  });
});

describe('hints', () => {
  test('the memory backend tells of state and messages by name and by *; hintless tells nothing', async () => {
    const { backend, state, op } = started();
    const seen: Hint[] = [];
    const interest: readonly Hint[] = [
      { about: 'state', prefix: 'part/' },
      { about: 'messages', address: '*' },
    ];
    const deaf: Hint[] = [];
    hintless(backend).onHint(interest, (hint) => deaf.push(hint));
    const listening = backend.onHint(interest, (hint) => seen.push(hint));
    const member = { address: 'b', topics: [], listening: true, mailbox: ROOMY, keepMs: 0 };
    await backend.messages?.subscribe(op(), [member]);
    await state.compareAndSet(op(), [swap, { key: 'other/x', expected: 0, value: 1 }]);
    await backend.messages?.publish(op(), [newMessage({ id: 'm', to: 'b' })], ROOMY);
    await Promise.resolve();
    expect(seen).toEqual([
      { about: 'state', prefix: 'part/' },
      { about: 'messages', address: 'b' },
    ]);
    listening[Symbol.dispose]();
    await state.compareAndSet(op(), [{ key: 'part/y', expected: 0, value: 1 }]);
    await Promise.resolve();
    expect(seen).toHaveLength(2);
    expect(deaf).toEqual([]);
  });
});

describe('the memory backend', () => {
  test('goes by the runtime’s clock from its start, and never back', () => {
    const backend = memory();
    const first = createTestClock();
    const { at } = backend.start(createRuntime({ clock: first }));
    expect(at).toBe(first.wall() * 1_000);
    first.tick(5_000);
    expect(backend.sessions.list({ limit: 1 }).at).toBe(at + 5_000_000);
    backend.stop();
    const behind = createTestClock(first.wall() - 3_600_000);
    expect(backend.start(createRuntime({ clock: behind })).at).toBe(at + 5_000_000);
    behind.tick(1);
    expect(backend.sessions.list({ limit: 1 }).at).toBe(at + 5_001_000);
  });

  test('shared by several managers it stops with the last', () => {
    const backend = memory({ shared: true });
    const clock = createTestClock();
    backend.start(createRuntime({ clock }));
    backend.start(createRuntime({ clock }));
    backend.stop();
    expect(backend.check()).toEqual({ healthy: true });
    backend.stop();
    expect(backend.check()).toEqual({ healthy: false, detail: 'stopped' });
  });

  test('start is idempotent', () => {
    const backend = memory();
    const runtime = createRuntime({ clock: createTestClock() });
    backend.start(runtime);
    backend.start(runtime);
    backend.stop();
    expect(backend.check()).toMatchObject({ healthy: false });
  });
});
