import { createServer, type Server } from 'node:http';
import type { HealthStatus } from './health.ts';

/** A health endpoint for process supervisors: `GET /health` on loopback answers 200 or 503 with the verdict as JSON. */
export interface HealthEndpoint {
  readonly port: number;
  close(): Promise<void>;
}

/** @param port 0 picks a free one */
export async function openHealthEndpoint(
  port: number,
  status: () => Promise<HealthStatus>,
): Promise<HealthEndpoint> {
  const server = createServer((request, response) => {
    if (request.method !== 'GET' || request.url?.split('?', 1)[0] !== '/health') {
      response.writeHead(404, { 'content-type': 'text/plain' }).end('GET /health is all there is here\n');
      return;
    }
    void status().then((verdict) => {
      response.writeHead(verdict.healthy ? 200 : 503, { 'content-type': 'application/json' });
      response.end(
        `${JSON.stringify({ healthy: verdict.healthy, error: verdict.error, components: verdict.components })}\n`,
      );
    });
  });
  await listen(server, port);
  server.unref();
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : port,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    // Stays: a connection that can't be accepted (EMFILE) is the caller's loss, and must not end the process.
    server.on('error', reject);
    server.listen(port, '127.0.0.1', () => resolve());
  });
}
