import { assertType, describe, expectTypeOf, test } from 'vitest';
import {
  type AgentProfile,
  type CoordinationManager,
  type DefinedContext,
  defineTask,
  type Gathered,
  type StandardSchema,
  type TaskDefinition,
  type TaskHandle,
} from '../../src/index.ts';

type Tasks = { readonly count: { readonly input: string; readonly output: number } };
declare const typed: CoordinationManager<Tasks>;
declare const untyped: CoordinationManager;

/** Takes a text, gives a number. The shape is that of Standard Schema, with the second parameter of its later revision. */
declare const numeric: {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (
      value: unknown,
      options?: { readonly libraryOptions?: Record<string, unknown> | undefined },
    ) =>
      | { readonly value: number; readonly issues?: undefined }
      | { readonly issues: readonly { readonly message: string }[] }
      | Promise<{ readonly value: number; readonly issues?: undefined }>;
    readonly types?: { readonly input: string; readonly output: number } | undefined;
  };
  parse(value: unknown): number;
};

const double = defineTask<number, string>({ name: 'double', handler: ({ task }) => `${task.input * 2}` });
const parsed = defineTask({ name: 'parsed', schema: numeric, handler: ({ task }) => ({ n: task.input }) });

describe('what defineTask knows', () => {
  test('without a schema: the types that were given', () => {
    expectTypeOf(double).toEqualTypeOf<TaskDefinition<number, string>>();
    expectTypeOf(double).toBeCallableWith(3, { priority: 'high' });
    // @ts-expect-error a number is wanted
    assertType(double('3'));
    // @ts-expect-error a number is wanted
    assertType(double());
    // @ts-expect-error priority, misspelt
    assertType(double(3, { priorty: 3 }));
  });

  test('without types: the output is what the handler returns', () => {
    const plain = defineTask({ name: 'plain', handler: () => 1 });
    expectTypeOf(plain).toEqualTypeOf<TaskDefinition<unknown, number>>();
    const usesContext = defineTask({ name: 'plain', handler: async (context) => context.task.id });
    expectTypeOf(usesContext).toEqualTypeOf<TaskDefinition<unknown, string>>();
    assertType(plain());
  });

  test('without types: the input is what the handler says it takes', () => {
    const said = defineTask({ name: 'said', handler: ({ task }: DefinedContext<number>) => [task.input] });
    expectTypeOf(said).toEqualTypeOf<TaskDefinition<number, number[]>>();
  });

  test('with a schema: given what it takes, handled what it gives', () => {
    expectTypeOf(parsed).toEqualTypeOf<TaskDefinition<number, { n: number }, string>>();
    assertType(parsed('7'));
    // @ts-expect-error the schema takes a text
    assertType(parsed(7));
  });

  test('with a schema of one’s own', () => {
    const own = defineTask({
      name: 'own',
      schema: {
        '~standard': {
          version: 1,
          vendor: 'me',
          validate: (value) =>
            typeof value === 'number' ? { value } : { issues: [{ message: 'a number, please' }] },
        },
      },
      handler: ({ task }) => task.input + 1,
    });
    expectTypeOf(own).toEqualTypeOf<TaskDefinition<number, number>>();
    const anything = {} as StandardSchema<unknown, number>;
    expectTypeOf(defineTask<number, string>({ name: 'own', schema: anything })).toEqualTypeOf<
      TaskDefinition<number, string>
    >();
    // @ts-expect-error the schema gives a number
    assertType(defineTask<string, string>({ name: 'own', schema: anything }));
  });

  test('refuses a handler that returns something else', () => {
    // @ts-expect-error a text is wanted
    assertType(defineTask<number, string>({ name: 'double', handler: ({ task }) => task.input * 2 }));
  });

  test('its handler may submit tasks of any type', () => {
    assertType(
      defineTask<number, string>({
        name: 'parent',
        handler: async ({ submit, gather }) => {
          expectTypeOf(submit(parsed('1'))).toEqualTypeOf<Promise<TaskHandle<{ n: number }>>>();
          expectTypeOf(gather([double(1), parsed('1')])).toEqualTypeOf<
            Promise<Gathered<string | { n: number }>>
          >();
          return (await submit({ type: 'other', input: 'a' })).result();
        },
      }),
    );
  });
});

describe('what a definition’s tasks result in', () => {
  test('on an untyped manager', () => {
    expectTypeOf(untyped.runTask(double(3))).toEqualTypeOf<Promise<string>>();
    expectTypeOf(untyped.submitTask(parsed('3'))).toEqualTypeOf<Promise<TaskHandle<{ n: number }>>>();
    expectTypeOf(untyped.assignTask(double(3))).toEqualTypeOf<Promise<TaskHandle<string>>>();
  });

  test('on a typed manager, beside its own types', () => {
    expectTypeOf(typed.runTask(double(3))).toEqualTypeOf<Promise<string>>();
    expectTypeOf(typed.submitTasks([double(3), { type: 'count', input: 'a' }])).toEqualTypeOf<
      Promise<readonly [TaskHandle<string>, TaskHandle<number>]>
    >();
    // @ts-expect-error double results in a text
    assertType<() => Promise<number>>(() => typed.runTask(double(3)));
  });

  test('in batches and copies', () => {
    expectTypeOf(untyped.submitTasks([1, 2].map((n) => double(n)))).toEqualTypeOf<
      Promise<readonly TaskHandle<string>[]>
    >();
    expectTypeOf(untyped.runTask({ ...double(3), priority: 'high' })).toEqualTypeOf<Promise<string>>();
    expectTypeOf(typed.runTask({ ...double(3), priority: 'high' })).toEqualTypeOf<Promise<string>>();
    // @ts-expect-error priority, misspelt
    assertType(untyped.runTask({ ...double(3), priorty: 'high' }));
  });
});

describe('agents', () => {
  test('take definitions of all types', () => {
    assertType(untyped.registerAgent({ id: 'ada', tasks: [double, parsed] }));
    assertType(typed.registerAgent({ id: 'ada', tasks: [double, parsed] }));
    assertType<AgentProfile['tasks']>([double]);
    // @ts-expect-error not a definition
    assertType(untyped.registerAgent({ id: 'ada', tasks: ['double'] }));
  });
});
