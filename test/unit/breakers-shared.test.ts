import { expect, test } from 'vitest';
import { CircuitBreaker } from '../../src/circuit-breaker/circuit-breaker.ts';
import type { Backend } from '../../src/core/ports/backend.ts';
import { CircuitState, CoordinationManager } from '../../src/index.ts';
import { networked } from '../../src/testing/networked.ts';
import { hintless } from '../../src/testing/wrappers.ts';
import { startFleet } from '../support/fleet.ts';

const OPTIONS = {
  shared: true,
  failureThreshold: 2,
  timeout: 10_000,
  successThreshold: 1,
  probeTimeoutMs: 4_000,
};

/** Breakers of one name in several processes. */
async function breakers(size: number, wrap: (backend: Backend) => Backend = (backend) => backend) {
  const { clock, meshes } = await startFleet(size, (store) => wrap(networked<Backend>(store)), {
    breakers: OPTIONS,
  });
  const all = meshes.map((mesh) => mesh.breakers.getBreaker('api'));
  await clock.advance(100);
  return { clock, all: all as [CircuitBreaker, CircuitBreaker, ...CircuitBreaker[]], meshes };
}

const fails = (): Promise<never> => Promise.reject(new Error('down'));
const works = (): Promise<string> => Promise.resolve('up');
const failed = (breaker: CircuitBreaker): Promise<unknown> => breaker.execute(fails).catch(() => undefined);

test('where one process opens it, all refuse; the one that probes closes it for all', async () => {
  const { clock, all } = await breakers(3);
  const [a, b, c] = all as [CircuitBreaker, CircuitBreaker, CircuitBreaker];
  await failed(a);
  await failed(a);
  await clock.advance(100);
  expect(all.map((breaker) => breaker.getState())).toEqual(
    Array.from({ length: 3 }, () => CircuitState.OPEN),
  );
  await clock.advance(10_000);
  expect(await c.execute(works)).toBe('up');
  await clock.advance(200);
  expect(all.map((breaker) => breaker.getState())).toEqual(
    Array.from({ length: 3 }, () => CircuitState.CLOSED),
  );
  expect(await b.execute(works)).toBe('up');
});

test('B1: while one process probes the others wait for what comes of it, at most as long as a probe may take', async () => {
  const { clock, all } = await breakers(2);
  const [a, b] = all;
  await failed(a);
  await failed(a);
  await clock.advance(10_100);
  expect(all.map((breaker) => breaker.getState())).toEqual([CircuitState.HALF_OPEN, CircuitState.HALF_OPEN]);
  const stuck = a.execute(() => new Promise<never>(() => undefined)).catch(() => undefined);
  await clock.advance(100);
  expect(b.getState()).toBe(CircuitState.OPEN);
  expect(await b.execute(works).catch((error: { code: string }) => error.code)).toBe('CIRCUIT_OPEN');
  await clock.advance(4_100);
  expect(await b.execute(works)).toBe('up');
  void stuck;
});

test('G4: without hints the others hear of it by looking', async () => {
  const { clock, all } = await breakers(2, hintless);
  const [a, b] = all;
  await failed(a);
  await failed(a);
  await clock.advance(6_000);
  expect(b.getState()).toBe(CircuitState.OPEN);
});

test('a process that starts later, or begins to use it later, finds it as it is', async () => {
  const { clock, meshes } = await breakers(2);
  const [first, second] = meshes as [CoordinationManager, CoordinationManager];
  const late = (mesh: CoordinationManager): CircuitBreaker => mesh.breakers.getBreaker('late');
  await failed(late(first));
  await failed(late(first));
  await clock.advance(3_000);
  const breaker = late(second);
  await clock.advance(100);
  expect(breaker.getState()).toBe(CircuitState.OPEN);
  const { retryAfterMs } = breaker.getMetrics();
  expect(retryAfterMs).toBeGreaterThan(6_000);
  expect(retryAfterMs).toBeLessThanOrEqual(7_000);
});

test.each([
  ['before', 'together'],
  ['while', 'one after the other'],
] as const)(
  'one that opens %s it hears of the others opens for all, however often theirs has changed',
  async (_, how) => {
    const { clock, meshes } = await breakers(2);
    const late = (mesh: CoordinationManager | undefined) =>
      mesh?.breakers.getBreaker('late') as CircuitBreaker;
    const theirs = late(meshes[0]);
    for (let n = 0; n < 3; n++) {
      await failed(theirs);
      await failed(theirs);
      await clock.advance(10_100);
      await theirs.execute(works);
      await clock.advance(200);
    }
    const ours = late(meshes[1]);
    if (how === 'together') await Promise.all([failed(ours), failed(ours)]);
    else for (let n = 0; n < 2; n++) await failed(ours);
    await clock.advance(6_000);
    expect([ours, theirs].map((breaker) => breaker.getState())).toEqual([
      CircuitState.OPEN,
      CircuitState.OPEN,
    ]);
    await clock.advance(4_200);
    expect(await theirs.execute(works)).toBe('up');
    await clock.advance(200);
    expect(ours.getState()).toBe(CircuitState.CLOSED);
  },
);

test('a breaker on its own has nothing to share it over', () => {
  expect(() => new CircuitBreaker('x', { shared: true })).toThrow(
    expect.objectContaining({ code: 'NOT_SUPPORTED' }),
  );
});
