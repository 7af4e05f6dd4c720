import { assertType, describe, expectTypeOf, test } from 'vitest';
import type {
  AdvancedTaskScheduler,
  CoordinationManager,
  Gathered,
  TaskContext,
  TaskHandle,
  TaskSpec,
} from '../../src/index.ts';

type Tasks = {
  readonly resize: { readonly input: { readonly width: number }; readonly output: { readonly url: string } };
  readonly count: { readonly input: string; readonly output: number };
  readonly ping: { readonly input: undefined; readonly output: 'pong' };
};
interface Image {
  readonly url: string;
}

declare const typed: CoordinationManager<Tasks>;
declare const typedScheduler: AdvancedTaskScheduler<Tasks>;
declare const untyped: CoordinationManager;

describe('a typed manager', () => {
  test('knows the result of each type', () => {
    expectTypeOf(typed.runTask({ type: 'resize', input: { width: 1 } })).toEqualTypeOf<Promise<Image>>();
    expectTypeOf(typed.submitTask({ type: 'count', input: 'a' })).toEqualTypeOf<
      Promise<TaskHandle<number>>
    >();
    expectTypeOf(typed.assignTask({ type: 'count', input: 'a' }, 'ada')).toEqualTypeOf<
      Promise<TaskHandle<number>>
    >();
    expectTypeOf(typedScheduler.runTask({ type: 'ping' })).toEqualTypeOf<Promise<'pong'>>();
  });

  test('requires the input, unless it may be undefined', () => {
    assertType(typed.submitTask({ type: 'ping' }));
    // @ts-expect-error resize needs a width
    assertType(typed.submitTask({ type: 'resize' }));
    // @ts-expect-error resize needs a width
    assertType(typed.runTask({ type: 'resize' }));
    // @ts-expect-error resize needs a width
    assertType(typed.assignTask({ type: 'resize' }, 'ada'));
    // @ts-expect-error resize needs a width
    assertType(typedScheduler.submitTask({ type: 'resize' }));
    // @ts-expect-error resize needs a width
    assertType<TaskSpec<Tasks>>({ type: 'resize' });
  });

  test('refuses what is not its type: input, name, field', () => {
    // @ts-expect-error the width is a number
    assertType(typed.submitTask({ type: 'resize', input: { width: 'wide' } }));
    // @ts-expect-error the input of another type
    assertType(typed.submitTask({ type: 'resize', input: 'a' }));
    // @ts-expect-error no such type
    assertType(typed.submitTask({ type: 'nope', input: 1 }));
    // @ts-expect-error priority, misspelt
    assertType(typed.submitTask({ type: 'ping', priorty: 3 }));
  });

  test('what is expected of a result does not change it', () => {
    // @ts-expect-error count results in a number
    assertType<() => Promise<string>>(() => typed.runTask({ type: 'count', input: 'a' }));
    // @ts-expect-error count results in a number
    assertType<Promise<TaskHandle<string>>>(typed.submitTask({ type: 'count', input: 'a' }));
  });

  test('takes a record of any of its types', () => {
    const task = {} as TaskSpec<Tasks>;
    expectTypeOf(typed.runTask(task)).toEqualTypeOf<Promise<Image | number | 'pong'>>();
  });

  test('a batch gives each its own result', () => {
    const handles = typed.submitTasks([
      { type: 'resize', input: { width: 1 } },
      { type: 'count', input: 'a' },
      { type: 'ping', priority: 'high' },
    ]);
    expectTypeOf(handles).toEqualTypeOf<
      Promise<readonly [TaskHandle<Image>, TaskHandle<number>, TaskHandle<'pong'>]>
    >();
    const many = typed.submitTasks(['a', 'b'].map((input) => ({ type: 'count', input })));
    expectTypeOf(many).toEqualTypeOf<Promise<readonly TaskHandle<number>[]>>();
  });

  test('a batch checks each record by its own type', () => {
    // @ts-expect-error resize wants a width
    assertType(typed.submitTasks([{ type: 'resize', input: 'a' }, { type: 'count', input: 'a' }])); // biome-ignore format: one line for one directive
    // @ts-expect-error resize wants an input
    assertType(typed.submitTasks([{ type: 'resize' }]));
    // @ts-expect-error no such type
    assertType(typed.submitTasks([{ type: 'nope' }]));
    // @ts-expect-error priority, misspelt
    assertType(typed.submitTasks([{ type: 'count', input: 'a', priorty: 3 }]));
  });

  test('gather knows what its handles result in', () => {
    const [one, other] = {} as [TaskHandle<Image>, TaskHandle<number>];
    expectTypeOf(typed.gather([one])).toEqualTypeOf<Promise<Gathered<Image>>>();
    expectTypeOf(typed.gather([one, other])).toEqualTypeOf<Promise<Gathered<Image | number>>>();
    const found = {} as Gathered<Image>['results'][number];
    if (found.status === 'completed') expectTypeOf(found.value).toEqualTypeOf<Image>();
    if (found.status === 'failed') expectTypeOf(found.error).toEqualTypeOf<Error>();
  });
});

describe('handlers of a typed manager', () => {
  test('a handler of one type has its input and must give its output', () => {
    assertType(
      typed.registerAgent({
        id: 'ada',
        handler: {
          resize: ({ task }) => ({ url: `${task.input.width}` }),
          count: async ({ task }) => task.input.length,
        },
      }),
    );
    assertType(
      typed.registerAgent({
        id: 'ada',
        // @ts-expect-error count results in a number
        handler: { count: ({ task }) => task.input },
      }),
    );
  });

  test('in a handler of all types, the type tells the input', () => {
    const { task } = {} as TaskContext<Tasks>;
    expectTypeOf(task.type).toEqualTypeOf<'resize' | 'count' | 'ping'>();
    if (task.type === 'count') expectTypeOf(task.input).toEqualTypeOf<string>();
    if (task.type === 'resize') expectTypeOf(task.input.width).toEqualTypeOf<number>();
  });

  test('children are typed like tasks', () => {
    const { submit, gather } = {} as TaskContext<Tasks, 'ping'>;
    expectTypeOf(submit({ type: 'count', input: 'a' })).toEqualTypeOf<Promise<TaskHandle<number>>>();
    expectTypeOf(gather([{ type: 'count', input: 'a' }, { type: 'ping' }])).toEqualTypeOf<
      Promise<Gathered<number | 'pong'>>
    >();
    // @ts-expect-error count wants a text
    assertType(submit({ type: 'count' }));
    // @ts-expect-error count wants a text
    assertType(gather([{ type: 'count', input: 1 }]));
  });
});

describe('an untyped manager', () => {
  test('takes any type and any input; results are usable as they are', () => {
    expectTypeOf(untyped.runTask({ type: 'x' })).resolves.toBeAny();
    expectTypeOf(untyped.submitTask({ type: 'x', input: 1 })).toEqualTypeOf<Promise<TaskHandle<any>>>();
    expectTypeOf(untyped.submitTasks([{ type: 'x' }, { type: 'y', input: 1 }])).toEqualTypeOf<
      Promise<readonly [TaskHandle<any>, TaskHandle<any>]>
    >();
    assertType(untyped.submitTasks([] as readonly TaskSpec[]));
    assertType(untyped.registerAgent({ id: 'ada', handler: ({ task }) => task.input.anything }));
  });

  test('still knows the fields of a task', () => {
    // @ts-expect-error priority, misspelt
    assertType(untyped.submitTask({ type: 'x', priorty: 3 }));
    // @ts-expect-error a task has a type
    assertType(untyped.submitTask({ input: 1 }));
  });

  test('takes the record of the predecessor', () => {
    const record = {
      id: 'task1',
      type: 'research',
      description: 'd',
      priority: 5,
      dependencies: ['task0'],
      input: { a: 1 },
      metadata: {},
      status: 'pending',
      createdAt: new Date(0),
    };
    assertType(untyped.submitTask(record));
    assertType(untyped.submitTasks([record]));
    assertType(untyped.assignTask(record, 'agent1'));
  });
});
