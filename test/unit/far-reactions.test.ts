import { describe, expect, test } from 'vitest';
import type { EventName, EventSink } from '../../src/core/events.ts';
import type { Operations } from '../../src/core/operations.ts';
import type {
  Consequences,
  NewTask,
  SettleResult,
  Settlement,
  TaskStore,
} from '../../src/core/ports/tasks.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import type { Run } from '../../src/scheduler/agent.ts';
import { Settler } from '../../src/scheduler/settler.ts';
import { Submission } from '../../src/scheduler/submission.ts';
import type { HandleHost } from '../../src/scheduler/task-handle.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';

/** G5: what is stored is stored, whatever whoever hears of it throws; and what he throws is reported. */

const NOTHING = { at: 1, readied: [], ended: [], more: false, opened: false };
const throws = (): never => {
  throw new Error('heard badly');
};

/** What a settler or a submission needs, over a store that does all it is asked. @param emit what becomes of an event */
function world(emit: (name: EventName) => void = () => undefined) {
  const clock = createTestClock();
  const log: string[] = [];
  const events: EventSink = {
    wants: () => true,
    emit: (name: string) => {
      log.push(name);
      emit(name as EventName);
    },
  };
  const logger = { debug() {}, info() {}, warn() {}, error: (message: string) => void log.push(message) };
  const runtime = { ...createRuntime({ clock, random: createRandom(1) }), logger };
  const store = {
    settle: async (_: unknown, items: readonly Settlement[]) => ({
      ...NOTHING,
      results: items.map(() => ({ status: 'settled', state: 'completed' })),
    }),
    enqueue: async (_: unknown, items: readonly NewTask[]) => ({
      ...NOTHING,
      results: items.map(({ id }) =>
        id === 'twice'
          ? { status: 'duplicate', id, state: 'ready', replaced: false }
          : { status: 'enqueued', state: 'ready' },
      ),
    }),
  } as unknown as TaskStore;
  const operations = () =>
    ({ session: 1, run: (send: (op: never) => unknown) => send(0 as never) }) as unknown as Operations;
  return { clock, log, events, runtime, store, operations };
}

describe.each([
  ['in this process', undefined],
  ['across a network', 10],
])('a settlement in a store %s', (_, farBatch) => {
  function settlerOf(consequences: (answer: Consequences) => void, emit?: (name: EventName) => void) {
    const parts = world(emit);
    const settled: SettleResult[] = [];
    const failures: unknown[] = [];
    const hooks = {
      settled: (_run: Run, _settlement: Settlement, result: SettleResult) => void settled.push(result),
      consequences,
    };
    const settler = new Settler({ ...parts, farBatch, hooks });
    const onSettled = (_result: unknown, failure: unknown): void => void failures.push(failure);
    const run = { facts: { onSettled } } as unknown as Run;
    return { ...parts, settler, run, settled, failures };
  }

  test('is stored, though what follows from it fails: that is what is reported', async () => {
    const { settler, run, clock, settled, failures, log } = settlerOf(throws);
    settler.add(run, { as: 'complete' } as Settlement);
    await clock.settle();
    await settler.untilIdle();
    expect(settled).toHaveLength(1);
    expect(failures).toEqual([]);
    expect(log).toEqual(['Could not follow up on how tasks ended', 'system:error']);
  });

  test('the next one is stored too, when even the report fails', async () => {
    const { settler, run, clock, settled } = settlerOf(throws, throws);
    for (let i = 0; i < 4; i++) {
      settler.add(run, { as: 'complete' } as Settlement);
      await clock.settle();
    }
    await settler.untilIdle();
    expect(settled).toHaveLength(4);
  });
});

describe('a submission to a store across a network', () => {
  function submissionOf(consequences: () => void, emit?: (name: EventName) => void) {
    const parts = world(emit);
    const submission = new Submission({
      ...parts,
      ordered: false,
      farBatch: 10,
      host: {} as HandleHost,
      wake: () => undefined,
      due: () => undefined,
      consequences,
      ended: () => undefined,
    });
    const local = { id: 'its handle' };
    const taskOf = (id: string): NewTask =>
      ({ id, queue: 'q', type: 't', priority: 0, limits: {}, local }) as unknown as NewTask;
    return { ...parts, submission, local, taskOf };
  }

  test('has its handle, though what follows from it fails: that is reported', async () => {
    const { submission, taskOf, local, clock, log } = submissionOf(throws);
    const handle = submission.enqueueOne(taskOf('a'), true);
    await clock.settle();
    expect(await handle).toBe(local);
    expect(log.slice(-2)).toEqual(['Could not follow up on stored tasks', 'system:error']);
  });

  test('has its handle, though whoever is told of it throws: that is reported, and the neighbours have theirs', async () => {
    const { submission, taskOf, local, clock, log } = submissionOf(
      () => undefined,
      (name) => (name === 'task:created' || name === 'task:deduplicated' ? throws() : undefined),
    );
    const handles = Promise.all(['a', 'twice', 'b'].map((id) => submission.enqueueOne(taskOf(id), true)));
    await clock.settle();
    const [first, twice, last] = await handles;
    expect([first, last]).toEqual([local, local]);
    expect(twice).toMatchObject({ id: 'twice' });
    expect(log.filter((one) => one === 'Could not tell of a stored task')).toHaveLength(3);
  });
});
