import { backendMs } from '../core/backend-ms.ts';
import { checkArray, checkId, checkInteger, invalid } from '../core/check.ts';
import { describe } from '../core/errors.ts';
import { checkOptions } from '../core/options.ts';
import type { Operations } from '../core/operations.ts';
import type { MailboxView, MessageCounts, MessageTransport } from '../core/ports/messages.ts';
import type { Cursor } from '../core/ports/words.ts';
import { slices } from '../core/slices.ts';
import { EVERYBODY } from './addresses.ts';
import type { DeliveryPump } from './delivery-pump.ts';
import type { DeadLetterFilter, DeadLetterPage, DeadMessage } from './types.ts';

/** Letters of one call. */
const BATCH = 1_000;

/** Letters that could not be delivered: looked at, put back, thrown away. */
export class DeadLetters {
  readonly #transport: MessageTransport;
  readonly #operations: Operations;
  readonly #pump: DeliveryPump;
  readonly #most: number;

  /** @param maxBatch most items of one call */
  constructor(transport: MessageTransport, operations: Operations, pump: DeliveryPump, maxBatch: number) {
    this.#most = Math.min(BATCH, maxBatch);
    this.#transport = transport;
    this.#operations = operations;
    this.#pump = pump;
  }

  async list(
    filter: DeadLetterFilter,
    asked: { readonly after?: Cursor; readonly limit?: number },
  ): Promise<DeadLetterPage> {
    const { agentId, ids } = checkFilter(filter);
    const page = checkOptions('page', asked, ['after', 'limit'], 'page');
    if (page.after !== undefined && typeof page.after !== 'string')
      throw invalid(`Expected after to be the \`next\` of another page, got ${describe(page.after)}`);
    const limit = page.limit === undefined ? 100 : checkInteger(page.limit, 'limit', 1, 1_000);
    const { items, next } = await this.#list(
      { messages: 'dead', ...(agentId === undefined ? {} : { address: agentId }) },
      { limit, ...(page.after === undefined ? {} : { after: page.after }) },
    );
    const wanted = ids === undefined ? undefined : new Set(ids);
    return {
      items: items.flatMap(lettersOf).filter(({ id }) => wanted === undefined || wanted.has(id)),
      next,
    };
  }

  async revise(set: 'redrive' | 'discard', filter: DeadLetterFilter): Promise<number> {
    const { agentId, ids } = checkFilter(filter);
    const wanted = {
      set,
      ...(agentId === undefined ? {} : { address: agentId }),
      limit: this.#most,
    };
    if (ids === undefined || ids.length <= this.#most)
      return this.#revise(ids === undefined ? wanted : { ...wanted, ids });
    let sum = 0;
    for (const part of slices([...new Set(ids)], this.#most))
      sum += await this.#revise({ ...wanted, ids: part });
    return sum;
  }

  async #revise(request: Parameters<MessageTransport['revise']>[1]): Promise<number> {
    for (let sum = 0; ; ) {
      const { changed, more, lost, readied } = await this.#operations.run((op) =>
        this.#transport.revise(op, request),
      );
      sum += changed;
      this.#pump.reportLost(lost);
      for (const address of readied) this.#pump.wakeAddress(address);
      if (changed > 0) this.#pump.chores.keepSweeping();
      if (!more) return sum;
    }
  }

  async totals(): Promise<MessageCounts> {
    return (await this.#list({}, { limit: 1 })).totals;
  }

  /** A read is repeated like an operation when its answer is lost. */
  #list(...request: Parameters<MessageTransport['list']>): ReturnType<MessageTransport['list']> {
    return this.#operations.run(() => this.#transport.list(...request));
  }
}

function checkFilter(given: unknown): DeadLetterFilter {
  const filter = checkOptions('filter', given as DeadLetterFilter, ['agentId', 'ids'], 'filter');
  if (filter.agentId !== undefined) checkId(filter.agentId, 'agentId');
  if (filter.ids === undefined) return filter;
  for (const id of checkArray(filter.ids, 'ids')) checkId(id, 'id');
  return filter;
}

function lettersOf({ address, messages }: MailboxView): DeadMessage[] {
  return messages.map(({ message, delivery, sentAt, reason }) => ({
    id: message.id,
    from: message.from,
    to: address,
    topic: message.topic && message.to !== EVERYBODY ? message.to : undefined,
    payload: message.payload,
    deliveries: delivery,
    reason: reason ?? '',
    sentAt: backendMs(sentAt),
  }));
}
