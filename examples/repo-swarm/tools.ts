import { spawn, type ChildProcess } from 'node:child_process';
import { Agent, request } from 'node:http';
import { fileURLToPath } from 'node:url';
import type { Edit } from './kinds/kind.ts';

export interface EditCall {
  readonly kind: string;
  readonly text: string;
  readonly edit: Edit;
  readonly mark: string;
}
export interface FormatCall {
  readonly path: string;
  readonly text: string;
}

/** A tool is there, but doesn't work right now. */
export class ToolDownError extends Error {}

/** The agents' tools: HTTP calls to a local process, with the latency of I/O and now and then an outage. Every run has its own. */
export class Tools implements AsyncDisposable {
  readonly #process: ChildProcess;
  readonly #port: number;
  readonly #connections = new Agent({ keepAlive: true });

  private constructor(process: ChildProcess, port: number) {
    this.#process = process;
    this.#port = port;
  }

  static async start(seed: number): Promise<Tools> {
    const script = fileURLToPath(new URL('tool-server.ts', import.meta.url));
    const child = spawn(process.execPath, [script, String(seed)], { stdio: ['pipe', 'pipe', 'inherit'] });
    const port = await new Promise<number>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code) => reject(new Error(`the tool server ended at once, exit code ${code}`)));
      child.stdout.once('data', (data: Buffer) => resolve(Number(data.toString('utf8'))));
    });
    return new Tools(child, port);
  }

  /** Asks the model for the text after an edit. */
  async edit(call: EditCall, signal: AbortSignal): Promise<string> {
    return ((await this.#post('/edit', call, signal)) as { text: string }).text;
  }

  /** Has a text checked. @throws ToolDownError while the formatter is down */
  async format(call: FormatCall, signal: AbortSignal): Promise<boolean> {
    return ((await this.#post('/format', call, signal)) as { ok: boolean }).ok;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#connections.destroy();
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.stdin?.end();
    this.#process.kill('SIGKILL');
    await ended;
  }

  #post(path: string, body: object, signal: AbortSignal): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const call = request(
        { agent: this.#connections, host: '127.0.0.1', port: this.#port, path, method: 'POST', signal },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('error', reject);
          response.on('end', () => {
            const text = Buffer.concat(chunks).toString('utf8');
            if (response.statusCode === 200) resolve(JSON.parse(text));
            else reject(failure(path, response.statusCode, text));
          });
        },
      );
      call.on('error', reject);
      call.end(JSON.stringify(body));
    });
  }
}

function failure(path: string, status: number | undefined, said: string): Error {
  const message = `${path} answered ${status}: ${said}`;
  return status === 503 ? new ToolDownError(message) : new Error(message);
}
