import { describe, expect, test } from 'vitest';
import { cancel } from '../../src/backends/memory/tasks/cancelling.ts';
import { enqueue } from '../../src/backends/memory/tasks/enqueue.ts';
import { RowHeap } from '../../src/backends/memory/tasks/row-heap.ts';
import { SubTasks } from '../../src/backends/memory/tasks/sub-tasks.ts';
import { TaskTable } from '../../src/backends/memory/tasks/table.ts';
import type { NewTask } from '../../src/core/ports/tasks.ts';
import { createMemoryTasks, newTask } from '../support/memory-tasks.ts';

function createTable(): TaskTable {
  return new TaskTable(createMemoryTasks().core, {});
}

function rowOf(table: TaskTable, task: NewTask): ReturnType<TaskTable['insert']> {
  return table.insert(task, table.queue(task.queue), table.now());
}

describe('what must not pile up', () => {
  test('placeholders last as long as somebody waits for them', () => {
    const table = createTable();
    const ids = Array.from({ length: 100 }, (_, i) => `t${i}`);
    enqueue(
      table,
      ids.map((id) => newTask(id, { dependsOn: [{ parent: `ghost of ${id}`, onFailure: 'cancel' }] })),
    );
    expect(table.graph.placeholders).toBe(100);
    cancel(
      table,
      ids.slice(0, 60).map((task) => ({ task, reason: 'r', tree: false, revoke: false })),
    );
    expect(table.graph.placeholders).toBe(40);
    enqueue(
      table,
      ids.slice(60).map((id) => newTask(`ghost of ${id}`)),
    );
    expect(table.graph.placeholders).toBe(0);
  });

  test('a parent pruned with nobody waiting leaves no placeholder', () => {
    const table = createTable();
    enqueue(table, [newTask('a'), newTask('b', { dependsOn: [{ parent: 'a', onFailure: 'cancel' }] })]);
    cancel(table, [{ task: 'a', reason: 'r', tree: false, revoke: false }]);
    for (const id of ['a', 'b']) table.prune(table.rows.get(id) as ReturnType<TaskTable['insert']>);
    expect(table.graph.placeholders).toBe(0);
  });

  test('pruned rows are nobody’s sub-tasks', () => {
    const table = createTable();
    enqueue(table, [newTask('root'), newTask('kid', { parent: 'root' })]);
    cancel(table, [{ task: 'root', reason: 'r', tree: true, revoke: false }]);
    table.prune(table.rows.get('kid') as ReturnType<TaskTable['insert']>);
    expect([...table.subTasks('root')]).toEqual([]);
  });

  test('a heap keeps about as many empty entries as live ones', () => {
    const table = createTable();
    const heap = new RowHeap();
    const entries = Array.from({ length: 10_000 }, (_, i) =>
      heap.push(rowOf(table, newTask(`t${i}`)), (i * 7_919) % 10_007, i),
    );
    for (const [i, entry] of entries.entries()) if (i % 100 !== 0) heap.remove(entry);
    expect(heap.size).toBe(100);
    expect(heap.entries).toBeLessThan(300);
    const left: number[] = [];
    for (let entry = heap.peek(); entry !== undefined; entry = heap.peek()) {
      left.push(entry.at);
      heap.pop();
    }
    expect(left).toHaveLength(100);
    expect(left).toEqual(left.toSorted((a, b) => a - b));
  });

  test('a forgotten row hands its sub-tasks to its parent, and is nobody’s sub-task any more', () => {
    const table = createTable();
    const tree = new SubTasks();
    const [root, kid, grandkid] = [
      rowOf(table, newTask('root')),
      rowOf(table, newTask('kid', { parent: 'root' })),
      rowOf(table, newTask('grandkid', { parent: 'kid' })),
    ];
    for (const row of [root, kid, grandkid]) tree.add(row);
    tree.forget(kid);
    expect([[...tree.of('root')], [...tree.of('kid')]]).toEqual([[grandkid], []]);
    tree.forget(grandkid);
    expect([...tree.of('root')]).toEqual([]);
    tree.forget(root);
  });
});
