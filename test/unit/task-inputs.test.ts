import { describe, expect, test } from 'vitest';
import { copyJson } from '../../src/core/json.ts';
import { createScheduler } from '../support/mesh.ts';

describe('an input is what it was when it was submitted', () => {
  test('T2: whatever the submitter does with its object afterwards', async () => {
    const { scheduler } = createScheduler();
    const input = { n: 1, deep: { list: [{ x: 1 }] } };
    await scheduler.submitTask({ type: 't', idempotencyKey: 'k', input });
    input.n = 2;
    (input.deep.list[0] as { x: number }).x = 2;
    const same = { n: 1, deep: { list: [{ x: 1 }] } };
    expect((await scheduler.submitTask({ type: 't', idempotencyKey: 'k', input: same })).duplicate).toBe(
      true,
    );
    await expect(scheduler.submitTask({ type: 't', idempotencyKey: 'k', input })).rejects.toMatchObject({
      code: 'IDEMPOTENCY_CONFLICT',
    });
  });

  test('and whatever a handler does with it: each attempt has its own', async () => {
    const { scheduler, clock } = createScheduler({ retryDelay: 10 });
    const seen: unknown[] = [];
    scheduler.registerAgent({
      id: 'a',
      handler: (context) => {
        const { input } = context.task as { input: { n: number; note?: string } };
        seen.push({ ...input });
        input.note = 'changed';
        expect(context.task.input, 'the same within an attempt').toBe(input);
        if (context.attempt < 3) throw new Error('again');
      },
    });
    const input = { n: 1 };
    await scheduler.submitTask({ id: 't', type: 't', idempotencyKey: 'k', input });
    await clock.advance(1_000);
    expect(seen).toEqual([{ n: 1 }, { n: 1 }, { n: 1 }]);
    expect(input).toEqual({ n: 1 });
    expect((await scheduler.submitTask({ type: 't', idempotencyKey: 'k', input: { n: 1 } })).duplicate).toBe(
      true,
    );
    const view = (await scheduler.getTask('t'))?.input as { n: number };
    expect(view).toEqual({ n: 1 });
    view.n = 9;
    expect((await scheduler.getTask('t'))?.input).toEqual({ n: 1 });
  });

  test('so are locks, metadata and an edited input', async () => {
    const { scheduler, store } = createScheduler();
    const metadata = { by: { name: 'ann' } };
    const locks = [{ resource: 'r' }];
    await scheduler.submitTask({ id: 't', type: 't', metadata, locks });
    metadata.by.name = 'bob';
    locks.push({ resource: 's' });
    const edited = { n: 1 };
    await scheduler.queues.edit({ ids: ['t'] }, edited);
    edited.n = 2;
    const body = store.get(['t'])[0]?.body;
    expect([
      body?.headers,
      (body?.settings as { locks?: unknown } | undefined)?.locks,
      body?.payload,
    ]).toEqual([{ by: { name: 'ann' } }, [{ resource: 'r' }], { n: 1 }]);
  });
});

test('copyJson shares nothing', () => {
  const value = { a: [1, { b: null }], c: 'x', d: { e: { f: true } }, constructor: { prototype: 1 } };
  const copy = copyJson(value);
  expect(copy).toEqual(value);
  expect([copy === value, copy.a === value.a, copy.a[1] === value.a[1], copy.d.e === value.d.e]).toEqual([
    false,
    false,
    false,
    false,
  ]);
  expect([copyJson(1), copyJson(null), copyJson('x'), copyJson(undefined)]).toEqual([
    1,
    null,
    'x',
    undefined,
  ]);
});
