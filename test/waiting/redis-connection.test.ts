import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EMPTY_REPORT } from '../../src/core/empty-report.ts';
import type { Hint } from '../../src/core/ports/backend.ts';
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts';
import { refusalOf, untilAnswered, type UsedRedis, useRedis } from '../support/redis-backends.ts';
import { type RedisServer, startRedis } from '../support/servers/redis-server.ts';

let server: RedisServer;
let proxy: FaultProxy;
let meshes = 0;

beforeAll(async () => {
  server = await startRedis({ durable: true });
  proxy = await startFaultProxy({ port: server.port });
});
afterAll(async () => {
  await proxy.close();
  await server.stop();
});

/** A mesh of its own behind the proxy. */
function throughProxy(commandTimeoutMs = 1_000): Promise<UsedRedis> {
  const url = `redis://127.0.0.1:${proxy.port}`;
  return useRedis({ url, mesh: `mesh-${++meshes}`, commandTimeoutMs });
}

const isScript = (request: Buffer): boolean => request.includes('EVAL');

/** Reads don't say who asks. */
const isWriteOf = ({ session }: UsedRedis, request: Buffer): boolean =>
  isScript(request) && request.includes(String(session));

/** Adds one to a counter; repeats the same operation until it is answered. */
async function increment({ backend, op }: UsedRedis): Promise<unknown[]> {
  const [entry] = (await untilAnswered(() => backend.state.get(['n/count']))).entries;
  const refusals: unknown[] = [];
  const same = op();
  const value = ((entry?.value as number | undefined) ?? 0) + 1;
  await untilAnswered(async () => {
    const call = backend.state.compareAndSet(same, [
      { key: 'n/count', expected: entry?.revision ?? 0, value },
    ]);
    refusals.push(await refusalOf(call));
    return call;
  });
  return refusals;
}

async function countOf({ backend }: UsedRedis): Promise<unknown> {
  return (await untilAnswered(() => backend.state.get(['n/count']))).entries[0]?.value;
}

describe('a connection that breaks', () => {
  test('a write whose reply was cut has an unknown outcome, and repeated it happens once', async () => {
    await using mesh = await throughProxy();
    const before = proxy.cuts;
    const first: unknown[] = [];
    for (let i = 0; i < 20; i++) {
      await countOf(mesh);
      proxy.cutReplies(1, (request) => isWriteOf(mesh, request));
      first.push((await increment(mesh))[0]);
    }
    expect(proxy.cuts - before).toBe(20);
    expect(first).toEqual(Array.from({ length: 20 }, () => 'OUTCOME_UNKNOWN'));
    expect(await countOf(mesh)).toBe(20);
  });

  test('a request that was cut before the server saw it happens once too', async () => {
    await using mesh = await throughProxy();
    await countOf(mesh);
    proxy.cutRequests(1, (request) => isWriteOf(mesh, request));
    expect((await increment(mesh))[0]).toBe('OUTCOME_UNKNOWN');
    expect(await countOf(mesh)).toBe(1);
  });

  test('a read whose reply was cut is asked again without anybody noticing', async () => {
    await using mesh = await throughProxy();
    await increment(mesh);
    proxy.cutReplies(1, isScript);
    const before = proxy.cuts;
    expect((await mesh.backend.state.get(['n/count'])).entries[0]?.value).toBe(1);
    expect(proxy.cuts - before).toBe(1);
  });

  test('connections that are killed by the server come back by themselves, and say so', async () => {
    await using mesh = await throughProxy();
    const hints: Hint[] = [];
    using _listener = mesh.backend.onHint([{ about: 'reconnected' }], (hint) => hints.push(hint));
    await server.cli('client', 'kill', 'type', 'normal');
    await server.cli('client', 'kill', 'type', 'pubsub');
    await expect.poll(() => hints.length, { timeout: 3_000 }).toBeGreaterThanOrEqual(2);
    await increment(mesh);
    expect(await countOf(mesh)).toBe(1);
  });

  test('cuts in the middle of the handshake do not make the next tries rare', async () => {
    await using mesh = await throughProxy();
    const accepted = proxy.accepted;
    proxy.cutReplies(Number.POSITIVE_INFINITY, (request) => !isScript(request));
    proxy.cutAll();
    await expect.poll(() => proxy.accepted - accepted, { timeout: 20_000 }).toBeGreaterThanOrEqual(12);
    proxy.cutReplies(0);
    const healed = performance.now();
    await countOf(mesh);
    expect(performance.now() - healed).toBeLessThan(1_500);
  });
});

describe('a server that is away', () => {
  test('calls are refused at once, and pick up where the durable server left off', async () => {
    await using mesh = await throughProxy();
    await increment(mesh);
    await server.kill9();
    const began = performance.now();
    await expect
      .poll(() => refusalOf(mesh.backend.sessions.beat(mesh.session, EMPTY_REPORT)))
      .toBe('BACKEND_UNAVAILABLE');
    expect(
      await refusalOf(mesh.backend.state.compareAndSet(mesh.op(), [{ key: 'n/x', expected: 0, value: 1 }])),
    ).toBe('BACKEND_UNAVAILABLE');
    expect((await mesh.backend.check()).healthy).toBe(false);
    expect(performance.now() - began).toBeLessThan(2_000);
    await server.start();
    const back = performance.now();
    expect(await countOf(mesh)).toBe(1);
    expect(performance.now() - back).toBeLessThan(2_500);
    expect((await mesh.backend.sessions.beat(mesh.session, EMPTY_REPORT)).status).toBe('alive');
    await increment(mesh);
    expect(await countOf(mesh)).toBe(2);
  });

  test('a black hole: calls end after the time for commands, late arrivals change nothing twice', async () => {
    await using mesh = await throughProxy(300);
    await increment(mesh);
    const [entry] = (await mesh.backend.state.get(['n/count'])).entries;
    const swap = { key: 'n/count', expected: entry?.revision ?? 0, value: 2 };
    const op = mesh.op();
    proxy.be('held');
    const began = performance.now();
    const [write, read] = await Promise.all([
      refusalOf(mesh.backend.state.compareAndSet(op, [swap])),
      refusalOf(mesh.backend.state.get(['n/count'])),
    ]);
    expect([write, read]).toEqual(['OUTCOME_UNKNOWN', 'BACKEND_UNAVAILABLE']);
    expect(performance.now() - began).toBeLessThan(2_500);
    proxy.be('forwarding');
    const answer = await untilAnswered(() => mesh.backend.state.compareAndSet(op, [swap]));
    expect(answer.swapped).toBe(true);
    expect(await countOf(mesh)).toBe(2);
  });

  test('a black hole is noticed by the connection that only listens', async () => {
    await using mesh = await throughProxy(150);
    const heard: Hint[] = [];
    using _listener = mesh.backend.onHint([{ about: 'reconnected' }], (hint) => heard.push(hint));
    const { accepted } = proxy;
    proxy.be('held');
    await expect.poll(() => proxy.accepted - accepted, { timeout: 3_000 }).toBeGreaterThanOrEqual(1);
    expect(heard).toEqual([]);
    proxy.be('forwarding');
    await expect.poll(() => heard.length, { timeout: 3_000 }).toBeGreaterThanOrEqual(1);
  });

  test('a server that sleeps: the reply of a write is not known, asked again it is', async () => {
    await using mesh = await throughProxy(200);
    const sleeping = server.cli('debug', 'sleep', '0.8');
    let written = 0;
    for (;;) {
      const op = mesh.op();
      const swap = { key: `n/${written}`, expected: 0, value: written };
      const refusal = await refusalOf(mesh.backend.state.compareAndSet(op, [swap]));
      written += 1;
      // The sleep may not have begun yet.
      if (refusal === undefined) continue;
      expect(refusal).toBe('OUTCOME_UNKNOWN');
      await sleeping;
      expect((await untilAnswered(() => mesh.backend.state.compareAndSet(op, [swap]))).swapped).toBe(true);
      break;
    }
    expect((await untilAnswered(() => mesh.backend.state.changes('n/', 0, 1_000))).entries).toHaveLength(
      Math.min(written, 1_000),
    );
  });

  test('stop refuses what is under way', async () => {
    const mesh = await throughProxy();
    proxy.be('held');
    const pending = refusalOf(mesh.backend.state.get(['n/count']));
    const first = mesh.backend.stop();
    expect(await pending).toBe('STOPPED');
    await first;
    proxy.be('forwarding');
    expect(await refusalOf(mesh.backend.state.get(['n/count']))).toBe('STOPPED');
  });
});

describe('a server that refuses', () => {
  test('out of memory: nothing is done, and it says why', async () => {
    await using mesh = await throughProxy();
    await server.cli('config', 'set', 'maxmemory', '1');
    const call = mesh.backend.state.compareAndSet(mesh.op(), [{ key: 'n/count', expected: 0, value: 1 }]);
    await expect(call).rejects.toThrow(/out of memory/);
    expect(await refusalOf(call)).toBe('BACKEND_UNAVAILABLE');
    await server.cli('config', 'set', 'maxmemory', '0');
    await increment(mesh);
    expect(await countOf(mesh)).toBe(1);
  });

  test('busy with a script of somebody else: refused, and served again after it', async () => {
    await using mesh = await throughProxy();
    await server.cli('config', 'set', 'busy-reply-threshold', '20');
    const busy = server.cli('eval', 'while true do end', '0').catch(() => undefined);
    await expect.poll(() => refusalOf(mesh.backend.state.get(['n/count']))).toBe('BACKEND_UNAVAILABLE');
    await server.cli('script', 'kill');
    await busy;
    await increment(mesh);
    expect(await countOf(mesh)).toBe(1);
  });

  test('turned into a replica: refused, nothing is done, and it looks for the master', async () => {
    await using mesh = await throughProxy();
    const { accepted } = proxy;
    await server.cli('config', 'set', 'replica-serve-stale-data', 'no');
    await server.cli('replicaof', '127.0.0.1', '1');
    const read = await mesh.backend.state.get(['n/count']).catch((error: unknown) => error);
    await server.cli('config', 'set', 'replica-serve-stale-data', 'yes');
    const swap = { key: 'n/count', expected: 0, value: 1 };
    const write = await mesh.backend.state.compareAndSet(mesh.op(), [swap]).catch((error: unknown) => error);
    await expect.poll(() => proxy.accepted - accepted).toBeGreaterThanOrEqual(1);
    await server.cli('replicaof', 'no', 'one');
    expect(String(read)).toMatch(/lost its master/);
    expect(String(write)).toMatch(/read-only replica/);
    expect(write).toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
    await increment(mesh);
    expect(await countOf(mesh)).toBe(1);
  });

  test('flushed scripts are sent again', async () => {
    await using mesh = await throughProxy();
    await increment(mesh);
    await server.cli('script', 'flush');
    expect(await increment(mesh)).toEqual([undefined]);
    expect(await countOf(mesh)).toBe(2);
  });

  test('a key of another type is an error that says so', async () => {
    await using mesh = await throughProxy();
    await server.cli('set', `agentmesh:{mesh-${meshes}}:v`, 'not a hash');
    await expect(mesh.backend.state.get(['n/count'])).rejects.toThrow(/another type/);
    expect(await refusalOf(mesh.backend.state.get(['n/count']))).toBe('SCHEMA_MISMATCH');
  });

  test('a server that forgot everything: sessions are over, numbers and revisions go on above the old ones', async () => {
    await using mesh = await throughProxy();
    await increment(mesh);
    const before = await mesh.backend.state.changes('', 0, 10);
    await server.cli('flushall');
    const swap = { key: 'n/count', expected: 0, value: 1 };
    expect(await refusalOf(mesh.backend.state.compareAndSet(mesh.op(), [swap]))).toBe('SESSION_EXPIRED');
    expect((await mesh.backend.sessions.beat(mesh.session, EMPTY_REPORT)).status).toBe('expired');
    const reopened = await mesh.backend.sessions.open({
      boot: 'again',
      leaseMs: 60_000,
      writer: 1,
      report: EMPTY_REPORT,
    });
    expect(reopened.session).toBeGreaterThan(mesh.session);
    // Whoever watched must drop what he has: deletions can't be told any more.
    expect((await mesh.backend.state.changes('', before.revision, 10)).reset).toBe(true);
    const { entries } = await mesh.backend.state.compareAndSet({ session: reopened.session, sequence: 1 }, [
      swap,
    ]);
    expect(entries[0]?.revision).toBeGreaterThan(before.revision);
    expect(await mesh.backend.state.changes('', before.revision, 10)).toMatchObject({
      reset: true,
      entries: [{ value: 1 }],
    });
  });
});
