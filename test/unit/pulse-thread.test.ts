import { execFile } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { describe, expect, onTestFinished, test } from 'vitest';
import { canCross, startPulse, threadModule } from '../../src/core/pulse.ts';
import type { ANSWERS } from '../support/pulse-probe.ts';

/** The thread itself, in real time; what it renews is played. */

const PROBE = new URL('../support/pulse-probe.ts', import.meta.url);
const ORDER: readonly (typeof ANSWERS)[number][] = ['alive', 'fails', 'never', 'throws', 'drops', 'over'];

function start({ everyMs = 20, stuckMs = 60_000, module = PROBE } = {}) {
  const cells = new Int32Array(new SharedArrayBuffer(8));
  const failures: string[] = [];
  const pulse = startPulse({
    module,
    connection: { cells: cells.buffer },
    session: 1 as never,
    options: { everyMs, stuckMs, failed: (code) => void failures.push(code) },
  });
  onTestFinished(() => pulse[Symbol.asyncDispose]());
  return {
    pulse,
    failures,
    tries: () => Atomics.load(cells, 0),
    answer: (how: (typeof ANSWERS)[number]) => void Atomics.store(cells, 1, ORDER.indexOf(how)),
  };
}

async function until(holds: () => boolean, withinMs = 10_000): Promise<void> {
  for (const end = performance.now() + withinMs; !holds(); await sleep(5))
    if (performance.now() > end) throw new Error(`Not within ${withinMs} ms`);
}

function block(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

describe('the thread', () => {
  test('renews while the event loop is blocked, and says how long ago', async () => {
    const { pulse, tries } = start();
    expect(pulse.agoMs()).toBe(Number.POSITIVE_INFINITY);
    await until(() => pulse.agoMs() < 1_000);
    const before = tries();
    block(600);
    expect(tries() - before).toBeGreaterThan(5);
    expect(pulse.agoMs()).toBeLessThan(500);
  });

  test('leaves it to the beats of the event loop as long as they come, but tries its connection now and then', async () => {
    const { pulse, tries } = start({ everyMs: 100 });
    await until(() => tries() === 1);
    const beating = setInterval(() => pulse.beaten(5), 50);
    onTestFinished(() => clearInterval(beating));
    await sleep(1_000);
    clearInterval(beating);
    const beaten = tries();
    // Once in three intervals, where it would have been ten times; a busy machine makes it a bit more.
    expect(beaten).toBeGreaterThan(2);
    expect(beaten).toBeLessThan(8);
    block(1_000);
    expect(tries() - beaten).toBeGreaterThan(6);
  });

  test('gives up a loop that does not come round, until it does', async () => {
    const { pulse, tries } = start({ stuckMs: 300 });
    const ticking = setInterval(() => pulse.tick(), 50);
    onTestFinished(() => clearInterval(ticking));
    await until(() => tries() > 3);
    await sleep(500);
    const before = tries();
    block(800);
    const blocked = tries();
    expect(blocked).toBeGreaterThan(before);
    block(400);
    // Not one try in the last 400 ms: it had given up.
    expect(tries()).toBe(blocked);
    expect(pulse.agoMs()).toBeGreaterThan(300);
    await until(() => tries() > blocked);
  });

  test.each(['fails', 'never', 'throws', 'drops'] as const)('goes on when a renewal %s', async (how) => {
    const { pulse, tries, answer, failures } = start();
    answer(how);
    await until(() => tries() >= 3);
    answer('alive');
    const before = tries();
    await until(() => tries() > before + 2 && pulse.agoMs() < 1_000);
    expect(failures).toEqual([]);
  });

  test('a renewal that failed does not count', async () => {
    const { pulse, tries, answer } = start();
    answer('fails');
    await until(() => tries() >= 3);
    expect(pulse.agoMs()).toBe(Number.POSITIVE_INFINITY);
  });

  test('ends with its session, and when it is told to', async () => {
    const over = start();
    over.answer('over');
    await until(() => over.tries() === 1);
    const told = start();
    await until(() => told.tries() > 1);
    await told.pulse[Symbol.asyncDispose]();
    await told.pulse[Symbol.asyncDispose]();
    const tries = told.tries();
    await sleep(200);
    expect(told.tries()).toBe(tries);
    expect(over.tries()).toBe(1);
    expect(over.pulse.agoMs()).toBe(Number.POSITIVE_INFINITY);
    expect([...over.failures, ...told.failures]).toEqual([]);
  });

  test('a module that is not there is told by its code, as in a bundle', async () => {
    const { failures } = start({ module: new URL('./nothing-here.js', import.meta.url) });
    await until(() => failures.length > 0);
    expect(failures).toEqual([expect.stringContaining('MODULE_NOT_FOUND')]);
  });

  test('keeps no process alive, and prints nothing of what its drivers print', async () => {
    const code = `
      import { startPulse } from '../../src/core/pulse.ts';
      const cells = new SharedArrayBuffer(8);
      const pulse = startPulse({
        module: new URL(${JSON.stringify(PROBE.href)}),
        connection: { cells },
        session: 1,
        options: { everyMs: 10, stuckMs: 60_000, failed: (code) => console.log('failed', code) },
      });
      // Long enough to renew and fail in all ways, then there is nothing left to do.
      const ways = [0, 1, 3, 4];
      const timer = setInterval(() => {
        if (Atomics.load(new Int32Array(cells), 0) === 0) return;
        const way = ways.shift();
        if (way === undefined) clearInterval(timer);
        else Atomics.store(new Int32Array(cells), 1, way);
      }, 100);
      process.on('exit', () => console.log(pulse.agoMs() < 5_000 ? 'renewed' : 'not renewed'));
    `;
    const options = { timeout: 15_000, cwd: import.meta.dirname };
    const { stdout, stderr } = await promisify(execFile)(
      process.execPath,
      ['--input-type=module', '-e', code],
      options,
    );
    expect([stdout, stderr]).toEqual(['renewed\n', '']);
  }, 20_000);
});

test('the module of a thread lies beside its source, or in the folder of what was built', () => {
  const names = { source: './pulse-worker.ts', built: './pulse-redis.js' };
  expect(threadModule('file:///a/src/redis/pulse.ts', names).href).toBe(
    'file:///a/src/redis/pulse-worker.ts',
  );
  expect(threadModule('file:///a/dist/chunk-X.js', names).href).toBe('file:///a/dist/pulse-redis.js');
});

test('what crosses to a thread: plain data and bytes, and nothing else', () => {
  for (const setting of [undefined, null, 1, 'x', [], { a: [{ b: Buffer.from('x') }] }, Object.create(null)])
    expect(canCross(setting)).toBe(true);
  for (const setting of [() => 1, Symbol('x'), new URL('file:///'), new Date(), new Map(), { a: [() => 1] }])
    expect(canCross(setting)).toBe(false);
});
