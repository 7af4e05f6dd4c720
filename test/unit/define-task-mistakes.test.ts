import { expect, test } from 'vitest';
import { CoordinationManager, defineTask } from '../../src/index.ts';

const boom = new Error('boom');
const thrower = (): never => {
  throw boom;
};
const answering = (answer: unknown) => ({ '~standard': { validate: () => answer } });

test.each([
  ['a schema that is none', { name: 'x', schema: {} }, /schema of x to be a Standard Schema, got/],
  ['no schema at all', { name: 'x', schema: null }, /schema of x to be a Standard Schema, got null/],
  ['a schema without validate', { name: 'x', schema: { '~standard': 1 } }, /Standard Schema/],
  ['defaults that are no record', { name: 'x', defaults: 5 }, /defaults of x to be an object, got 5/],
  [
    'a getter that throws',
    {
      name: 'x',
      get schema() {
        return thrower();
      },
    },
    /a task definition can't be read/,
  ],
])('defineTask refuses %s', (_, options, message) => {
  expect(() => defineTask(options as never)).toThrow(
    expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringMatching(message) as string }),
  );
});

test.each([
  ['throws', { '~standard': { validate: thrower } }],
  ['rejects', { '~standard': { validate: async () => thrower() } }],
  ['answers nothing', answering(undefined)],
  ['answers with issues that are no list', answering({ issues: 5 })],
  ['answers with a path that is none', answering({ issues: [{ message: 'm', path: null }] })],
])('a schema that %s refuses the task with a code', async (what, schema) => {
  const mesh = await CoordinationManager.start();
  const task = defineTask({ name: 'x', schema: schema as never });
  const refused: unknown = await mesh.submitTask(task(1)).catch((error: unknown) => error);
  await mesh.shutdown();
  expect(refused).toMatchObject({
    code: 'INVALID_ARGUMENT',
    message: 'The input of x could not be checked: its schema failed',
    cause: what === 'throws' || what === 'rejects' ? boom : expect.any(TypeError),
  });
});

test('an agent takes definitions of any name, and nothing that is no definition', async () => {
  const mesh = await CoordinationManager.start();
  const tasks = ['__proto__', 'toString'].map((name) => defineTask({ name, handler: () => name }));
  mesh.registerAgent({ id: 'a', tasks });
  expect(await mesh.runTask({ type: '__proto__' })).toBe('__proto__');
  expect(await mesh.runTask({ type: 'toString' })).toBe('toString');
  for (const [definition, message] of [
    [null, 'Expected a definition of agent.tasks to be an object, got null'],
    [5, 'Expected a definition of agent.tasks to be an object, got 5'],
    [{ handler: () => 1 }, 'Expected the name of a task definition to be a string, got undefined'],
    [defineTask({ name: 'x' }), 'Task definition x has no handler for an agent to run'],
  ])
    expect(() => mesh.registerAgent({ id: 'b', tasks: [definition] } as never)).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message }),
    );
  await mesh.shutdown();
});
