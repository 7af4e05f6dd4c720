import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts';

let server: Server;
let proxy: FaultProxy;
/** What the server heard. */
let heard: string[];

/** A server that answers each text with the same in capitals. */
beforeEach(async () => {
  heard = [];
  server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => {
      heard.push(chunk.toString());
      socket.write(chunk.toString().toUpperCase());
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  proxy = await startFaultProxy({ port: (server.address() as AddressInfo).port });
});
afterEach(async () => {
  await proxy.close();
  server.close();
});

interface Client {
  readonly socket: Socket;
  readonly answers: string[];
  /** How the connection ended, `undefined` while it is open. */
  ended: string | undefined;
}

function dial(): Client {
  const socket = connect(proxy.port, '127.0.0.1');
  const client: Client = { socket, answers: [], ended: undefined };
  socket.on('data', (chunk: Buffer) => client.answers.push(chunk.toString()));
  socket.on('error', (error: NodeJS.ErrnoException) => (client.ended = error.code ?? error.message));
  socket.on('close', () => (client.ended ??= 'closed'));
  return client;
}

test('it forwards, and counts connections', async () => {
  const clients = [dial(), dial()];
  for (const { socket } of clients) socket.write('hi');
  await expect.poll(() => clients.map(({ answers }) => answers)).toEqual([['HI'], ['HI']]);
  expect([proxy.connections, proxy.accepted, proxy.cuts]).toEqual([2, 2, 0]);
  clients[0]?.socket.destroy();
  await expect.poll(() => proxy.connections).toBe(1);
});

test('a reply that is cut: the server heard, the client is reset; the next connection works', async () => {
  proxy.cutReplies(1, (request) => request.includes('cut me'));
  const client = dial();
  client.socket.write('not me');
  await expect.poll(() => client.answers).toEqual(['NOT ME']);
  client.socket.write('cut me');
  await expect.poll(() => client.ended).toBe('ECONNRESET');
  expect([heard, client.answers, proxy.cuts]).toEqual([['not me', 'cut me'], ['NOT ME'], 1]);
  const next = dial();
  next.socket.write('cut me');
  await expect.poll(() => next.answers).toEqual(['CUT ME']);
});

test('a request that is cut: the server never heard', async () => {
  proxy.cutRequests(1);
  const client = dial();
  client.socket.write('hi');
  await expect.poll(() => client.ended).toBe('ECONNRESET');
  expect([heard, proxy.cuts]).toEqual([[], 1]);
});

test('what is held arrives late, and nobody is told meanwhile', async () => {
  const client = dial();
  client.socket.write('one');
  await expect.poll(() => client.answers).toEqual(['ONE']);
  proxy.be('held');
  client.socket.write('two');
  const late = dial();
  late.socket.write('three');
  await new Promise((resolve) => setTimeout(resolve, 60));
  expect([heard, client.ended, late.ended]).toEqual([['one'], undefined, undefined]);
  proxy.be('forwarding');
  await expect.poll(() => [client.answers.at(-1), late.answers]).toEqual(['TWO', ['THREE']]);
});

test('refusing resets old connections and new ones', async () => {
  const old = dial();
  old.socket.write('hi');
  await expect.poll(() => old.answers).toEqual(['HI']);
  proxy.be('refusing');
  const fresh = dial();
  await expect.poll(() => [old.ended, fresh.ended]).toEqual(['ECONNRESET', 'ECONNRESET']);
  expect(proxy.connections).toBe(0);
});

test('a delay counts each way and keeps the order', async () => {
  proxy.be({ delayMs: 40 });
  const client = dial();
  await once(client.socket, 'connect');
  const began = performance.now();
  client.socket.write('a');
  await new Promise((resolve) => setTimeout(resolve, 5));
  client.socket.write('b');
  await expect.poll(() => client.answers.join('')).toBe('AB');
  expect(performance.now() - began).toBeGreaterThanOrEqual(78);
});

test('cutAll resets what is open, close all and the listener', async () => {
  const client = dial();
  client.socket.write('hi');
  await expect.poll(() => client.answers).toEqual(['HI']);
  proxy.cutAll();
  await expect.poll(() => client.ended).toBe('ECONNRESET');
  await proxy.close();
  const late = dial();
  await expect.poll(() => late.ended).toBe('ECONNREFUSED');
});
