import { describe, expect, test } from 'vitest';
import { CoordinationManager, defineTask, type StandardSchema } from '../../src/index.ts';

let checks = 0;
/** Doubles what it lets through, so that a second check would show. */
const schema: StandardSchema<unknown, number> = {
  '~standard': {
    version: 1,
    vendor: 'test',
    validate: (value) => {
      checks += 1;
      return typeof value === 'number' ? { value: value * 2 } : { issues: [{ message: 'a number, please' }] };
    },
  },
};
const resize = defineTask<number>({ name: 'resize', schema });
const bad = 'x' as unknown as number;

async function withMesh(use: (mesh: CoordinationManager) => Promise<void>): Promise<void> {
  const mesh = await CoordinationManager.start({ maxRetries: 0 });
  mesh.registerAgent({ id: 'a', handler: ({ task }) => task.input });
  try {
    await use(mesh);
  } finally {
    await mesh.shutdown();
  }
}

describe('a copy of a task that a definition made', () => {
  test('is checked by its schema, once, however it is submitted', () =>
    withMesh(async (mesh) => {
      for (const submit of [
        (spec: object) => mesh.submitTask(spec as never),
        (spec: object) => mesh.runTask(spec as never),
        (spec: object) => mesh.assignTask(spec as never),
        (spec: object) => mesh.submitTasks([spec as never]),
      ])
        await expect(submit({ ...resize(bad) })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
      checks = 0;
      expect(await mesh.runTask({ ...resize(4), priority: 'high' })).toBe(8);
      expect(checks).toBe(1);
    }));

  test('that was given another type is not', () =>
    withMesh(async (mesh) => {
      expect(await mesh.runTask({ ...resize(bad), type: 'other' })).toBe('x');
    }));

  test('reads as a plain record to JSON and to those who look at its keys', () => {
    expect(JSON.stringify(resize(1))).toBe('{"type":"resize","input":1}');
    expect(Object.keys(resize(1))).toEqual(['type', 'input']);
    expect(structuredClone({ ...resize(1) })).toEqual({ type: 'resize', input: 1 });
  });
});
