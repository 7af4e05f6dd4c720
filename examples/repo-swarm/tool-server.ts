// The agents' tools, in a process of their own: a stand-in for a model that makes edits, and a formatter that is sometimes down.
// Started by `tools.ts`; prints its port and serves the loopback address only until its standard input closes.
import { createServer, type IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { applyEdit } from './kinds/index.ts';
import { isInOrder } from './lint.ts';
import { fraction } from './seeded.ts';
import type { EditCall, FormatCall } from './tools.ts';

const seed = Number(process.argv[2] ?? 0);
/** A model answers after 15 to 30 ms, always the same for the same edit. */
const EDIT_MS = [15, 30] as const;
const FORMAT_MS = 3;
/** The formatter is down for five calls in a row, four times, at seeded places among its first 200 calls. */
const outages = [0, 1, 2, 3].map((n) => 20 + 50 * n + Math.floor(20 * fraction(seed, 'outage', n)));
const OUTAGE_CALLS = 5;
let formatCalls = 0;

const routes: Readonly<Record<string, (body: unknown) => Promise<{ status: number; answer: unknown }>>> = {
  '/edit': async (body) => {
    const { kind, text, edit, mark } = body as EditCall;
    await sleep(EDIT_MS[0] + (EDIT_MS[1] - EDIT_MS[0]) * fraction(seed, 'edit', mark));
    return { status: 200, answer: { text: applyEdit(kind, text, edit, mark) } };
  },
  '/format': async (body) => {
    const { path, text } = body as FormatCall;
    const call = formatCalls++;
    await sleep(FORMAT_MS);
    if (outages.some((from) => call >= from && call < from + OUTAGE_CALLS)) {
      return { status: 503, answer: { error: 'the formatter is restarting' } };
    }
    return { status: 200, answer: { ok: isInOrder(path, text) } };
  },
};

async function readBody(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return JSON.parse(Buffer.concat(chunks).toString('utf8')) as unknown;
}

const server = createServer((request, response) => {
  const serve = async (): Promise<void> => {
    const route = routes[request.url ?? ''];
    const body = await readBody(request);
    const { status, answer } = route === undefined ? { status: 404, answer: {} } : await route(body);
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
  };
  serve().catch((error: unknown) => {
    response.writeHead(400).end(JSON.stringify({ error: String(error) }));
  });
});
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  process.stdout.write(`${typeof address === 'object' ? address?.port : ''}\n`);
});
process.stdin.resume().on('end', () => process.exit(0));
process.on('SIGINT', () => undefined); // a ^C reaches the whole group: the parent ends this process when it is done
