import type { DeadlockError } from '../core/deadlock-error.ts';
import type { Requirement, WaitSource } from '../core/waits.ts';
import type { Consumer } from './consumer.ts';
import type { PendingRequest, Replies } from './replies.ts';

/**
 * Waits for replies as edges of the one wait-for graph. Who stands in the way of a reply: the handling of the request; before it began,
 * whatever fills the responder's places (any of them ending is enough); with nobody subscribed or after the handling ended, what the
 * responding agent runs. Where nobody known stands in the way there is no edge: no false victim (D1).
 */
export class ReplyWaits implements WaitSource {
  readonly #replies: Replies;
  readonly #consumer: (agentId: string) => Consumer | undefined;
  readonly #runsOf: (agentId: string) => Iterable<string>;

  constructor(
    replies: Replies,
    consumer: (agentId: string) => Consumer | undefined,
    runsOf: (agentId: string) => Iterable<string>,
  ) {
    this.#replies = replies;
    this.#consumer = consumer;
    this.#runsOf = runsOf;
  }

  requirements(node: string): readonly Requirement[] {
    return this.#replies.of(node).flatMap((request) => {
      const blockers = [...new Set(this.#blockers(request))];
      if (blockers.length === 0) return [];
      return [
        {
          by: 'reply' as const,
          what: request.to,
          blockers: blockers.map((blocker) => ({ node: blocker, frees: 1 })),
          needs: 1,
        },
      ];
    });
  }

  abort(node: string, error: DeadlockError): boolean {
    return this.#replies.abort(node, error);
  }

  waiting(): Iterable<string> {
    return [...this.#replies.nodes()];
  }

  #blockers(request: PendingRequest): Iterable<string> {
    const consumer = this.#consumer(request.to);
    if (request.handled || consumer === undefined || consumer.subscribers.length === 0) {
      return this.#runsOf(request.to);
    }
    return consumer.inTheWayOf(request.id, request.orderKey).map((handling) => handling.node);
  }
}
