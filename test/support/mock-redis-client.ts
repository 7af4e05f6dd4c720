import { EventEmitter } from 'node:events';
import type { RedisClient } from '../../src/backends/redis/client.ts';

/** A client that answers what a test says: what a server says seldom, and what other clients look like. */
export class MockRedisClient extends EventEmitter implements RedisClient {
  status = 'ready';
  /** What the next commands are answered with, `PONG` when there is none. */
  readonly answers: (() => unknown)[] = [];
  readonly commands: (readonly (string | number | Buffer)[])[] = [];

  async call(command: string, args: (string | number | Buffer)[]): Promise<unknown> {
    this.commands.push([command, ...args]);
    const answer = this.answers.shift();
    return answer === undefined ? 'PONG' : answer();
  }

  connect(): Promise<void> {
    return Promise.resolve();
  }

  disconnect(): void {
    this.status = 'end';
  }

  duplicate(): MockRedisClient {
    return new MockRedisClient();
  }

  subscribe(): Promise<void> {
    return Promise.resolve();
  }

  unsubscribe(): Promise<void> {
    return Promise.resolve();
  }
}

/** An error reply of the server, as ioredis has it: with the command that was sent. */
export function replyError(message: string): Error {
  const error = new Error(message);
  error.name = 'ReplyError';
  return Object.assign(error, { command: { name: 'auth', args: ['canary-5ecret'] } });
}
