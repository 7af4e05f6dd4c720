import { describe, expect, test } from 'vitest';
import { pathItems, pathResource } from '../../src/resources/path-lock.ts';
import { planLocks } from '../../src/resources/resource-request.ts';
import { createDesk } from '../support/locks/lock-desk.ts';

describe('L9: paths', () => {
  test.each([
    ['src/a.ts', '/src/a.ts'],
    ['./src//a.ts', '/src/a.ts'],
    ['/src/x/../a.ts', '/src/a.ts'],
    ['src/', '/src'],
    ['src/**', '/src'],
    ['src/*.ts', '/src'],
    ['src/**/*.test.ts', '/src'],
    ['src/{a,b}.ts', '/src'],
    ['src/[id].ts', '/src'],
    ['src/a?.ts', '/src'],
    ['app/(group)/page.tsx', '/app/(group)/page.tsx'],
    ['app/@(a|b)/page.tsx', '/app'],
    ['**/*.md', '/'],
    ['.', '/'],
    ['/', '/'],
    ['a/b/../../c', '/c'],
    ['cafe\u0301.md', '/caf\u00e9.md'],
    ['__proto__/constructor', '/__proto__/constructor'],
  ])('%s is %s', (path, resource) => {
    expect(pathResource(path)).toBe(resource);
  });

  test.each([
    [''],
    ['..'],
    ['src/../../etc'],
    ['src\\a.ts'],
    ['src/*/../../lib'],
    ['a\u0000b'],
    ['line\nbreak'],
    ['\ud800'],
    ['x/'.repeat(65)],
    ['x'.repeat(1_001)],
    [7],
    [undefined],
    [null],
    [{}],
  ])('%j is refused', (path) => {
    expect(() => pathResource(path)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
  });

  test('a path becomes intents on every folder above and the mode on itself', () => {
    expect(pathItems('/src/core/a.ts', 'exclusive')).toEqual([
      { resource: '/', mode: 'intent-exclusive' },
      { resource: '/src', mode: 'intent-exclusive' },
      { resource: '/src/core', mode: 'intent-exclusive' },
      { resource: '/src/core/a.ts', mode: 'exclusive' },
    ]);
    expect(pathItems('/', 'shared')).toEqual([{ resource: '/', mode: 'shared' }]);
  });

  const overlaps: readonly (readonly [string, string, boolean])[] = [
    ['src/a.ts', 'src/b.ts', false],
    ['src/a.ts', 'src/a.ts', true],
    ['src/a.ts', './src/./a.ts', true],
    ['src/**', 'src/a.ts', true],
    ['src/core/x.ts', 'src/**', true],
    ['src/**', 'docs/**', false],
    ['**', 'docs/x.md', true],
    ['src', 'srcs/a.ts', false],
    ['src/*.ts', 'src/core/deep/x.ts', true],
  ];
  test.each(overlaps)('%s and %s: overlap is conflict (%s)', async (a, b, conflict) => {
    const { locks } = createDesk();
    await locks.acquire({ path: a });
    expect((await locks.tryAcquire({ path: b })) === undefined).toBe(conflict);
    expect((await locks.tryAcquire({ path: b, mode: 'shared' })) === undefined).toBe(
      conflict || overlaps.some(([x, y, same]) => x === a && y === b && !same),
    );
  });

  test('readers of overlapping paths go together', async () => {
    const { locks } = createDesk();
    await locks.acquire({ path: 'src/**', mode: 'shared' });
    expect(await locks.tryAcquire({ path: 'src/a.ts', mode: 'shared' })).toBeDefined();
    expect(await locks.tryAcquire({ path: 'src/a.ts' })).toBeUndefined();
    expect(await locks.tryAcquire({ path: 'docs/a.md' })).toBeDefined();
  });

  test('one owner may take several paths, and a file in a folder it holds', async () => {
    const { locks } = createDesk();
    await locks.acquire({ path: 'src/a.ts' }, { owner: 'ann' });
    await locks.acquire({ path: 'src/b.ts' }, { owner: 'ann' });
    const whole = await locks.acquire({ path: 'src/**' }, { owner: 'ann' });
    await locks.acquire({ path: 'src/c.ts' }, { owner: 'ann' });
    expect(await locks.tryAcquire({ path: 'src/d.ts' })).toBeUndefined();
    await whole.release();
    expect(await locks.tryAcquire({ path: 'src/d.ts' })).toBeDefined();
    expect(await locks.tryAcquire({ path: 'src/c.ts' })).toBeUndefined();
  });

  test('a whole-tree lock waits for files, and files behind it wait, unless they belong to a holder', async () => {
    const { locks, named } = createDesk();
    const file = await locks.acquire({ path: 'src/a.ts' }, { owner: 'ann' });
    const tree = locks.acquire({ path: '**' }, { owner: 'bob' });
    const other = locks.acquire({ path: 'src/b.ts' }, { owner: 'cid' });
    // Ann holds what bob waits for: she must not wait for him in turn.
    const second = await locks.acquire({ path: 'docs/x.md' }, { owner: 'ann' });
    expect(named('deadlock:detected')).toEqual([]);
    await file.release();
    await second.release();
    await (await tree).release();
    await (await other).release();
    expect(locks.lockUse()).toMatchObject({ held: 0, waiting: 0 });
  });

  test('the upgrade of a path upgrades its intents', async () => {
    const { locks } = createDesk();
    const mine = await locks.acquire({ path: 'src/a.ts', mode: 'shared' });
    const beside = await locks.acquire({ path: 'src/b.ts', mode: 'shared' });
    await mine.upgrade();
    expect(await locks.tryAcquire({ path: 'src/**', mode: 'shared' })).toBeUndefined();
    await beside.upgrade();
    await mine.downgrade();
    await beside.downgrade();
    expect(await locks.tryAcquire({ path: 'src/**', mode: 'shared' })).toBeDefined();
  });
});

describe('requests', () => {
  test('several for one resource become one, strong enough for all', () => {
    const plan = planLocks([
      { path: 'src/a.ts' },
      { path: 'src/b.ts', mode: 'shared' },
      { path: 'docs/**', mode: 'shared' },
      { resource: 'db', mode: 'shared' },
      'db',
      { semaphore: 'gpu', of: 4, units: 1 },
      { semaphore: 'gpu', of: 4, units: 2 },
    ]);
    expect(plan.names).toEqual(['/src/a.ts', '/src/b.ts', '/docs', 'db', 'gpu']);
    expect(plan.items).toEqual([
      { resource: '/', mode: 'intent-exclusive' },
      { resource: '/docs', mode: 'shared' },
      { resource: '/src', mode: 'intent-exclusive' },
      { resource: '/src/a.ts', mode: 'exclusive' },
      { resource: '/src/b.ts', mode: 'shared' },
      { resource: 'db', mode: 'exclusive' },
      { resource: 'gpu', mode: { units: 3, of: 4 } },
    ]);
    expect(planLocks([{ path: 'src', mode: 'shared' }, { path: 'src/a.ts' }]).items).toContainEqual({
      resource: '/src',
      mode: 'exclusive',
    });
  });
});
