import type { ClaimRequest, Offer, TaskKind } from '../../../core/ports/tasks.ts';
import type { Lane, LaneBook } from './lane-book.ts';

/** What of a request decides which lanes it is for. */
export type LaneRequest = Pick<ClaimRequest, 'queues' | 'offers' | 'agents' | 'without'>;

/** A request in terms of lanes: those that some offer serves, and those of the agents hosted here. */
export interface ClaimPlan {
  readonly lanes: readonly number[];
  /** As array literals, one element a lane. */
  readonly lanesText: string;
  readonly queuesText: string;
  readonly offersText: string;
  /** Most tasks of the lane's queue; null: without limits. */
  readonly quotasText: string | null;
  readonly ownText: string;
  /** The limits by queue. */
  readonly quotaQueuesText: string | null;
  readonly quotaLimitsText: string | null;
}

/** Offers of the same capabilities and types are one with more slots. */
export function mergedOffers(offers: readonly Offer[]): readonly Offer[] {
  if (offers.length < 2) return offers;
  const merged = new Map<string, Offer>();
  for (const offer of offers) {
    const key = JSON.stringify([offer.capabilities, offer.types]);
    const same = merged.get(key);
    merged.set(key, same === undefined ? offer : { ...offer, slots: same.slots + offer.slots });
  }
  return [...merged.values()];
}

/** Works requests out in terms of lanes, and remembers the last of them: a worker asks the same again and again. */
export class ClaimPlanner {
  readonly #lanes: LaneBook;
  #last: ClaimPlan | undefined = undefined;
  #lastKey = '';

  constructor(lanes: LaneBook) {
    this.#lanes = lanes;
  }

  /** @param offers merged */
  plan(request: LaneRequest, offers: readonly Offer[]): ClaimPlan {
    const key = `${this.#lanes.version} ${JSON.stringify([
      request.queues,
      offers.map(({ capabilities, types, slots }) => [capabilities, types, slots > 0]),
      request.agents,
      request.without,
    ])}`;
    if (this.#last === undefined || key !== this.#lastKey) {
      this.#last = this.#work(request, offers);
      this.#lastKey = key;
    }
    return this.#last;
  }

  #work({ queues, agents, without = [] }: LaneRequest, offers: readonly Offer[]): ClaimPlan {
    const quotas =
      queues === undefined ? undefined : new Map(queues.map(({ queue, limit }) => [queue, limit]));
    const kinds = offers.map(({ capabilities, types, slots }) => ({
      capabilities: new Set(capabilities),
      types: types === undefined ? undefined : new Set(types),
      isOpen: slots > 0,
    }));
    const unwanted = new Set(without.map(kindKey));
    const hosted = new Set(agents);
    const served: { readonly lane: Lane; readonly offers: string }[] = [];
    const own: number[] = [];
    for (const lane of this.#lanes.all) {
      if (quotas !== undefined && !quotas.has(lane.queue)) continue;
      if (lane.agent !== undefined) {
        if (hosted.has(lane.agent)) own.push(lane.lane);
        continue;
      }
      const { type, capabilities, placement } = lane;
      if (placement !== undefined && unwanted.has(kindKey({ type, capabilities, placement }))) continue;
      const isServed = kinds.map(
        (kind) =>
          kind.isOpen &&
          (kind.types === undefined || kind.types.has(type)) &&
          capabilities.every((name) => kind.capabilities.has(name)),
      );
      if (isServed.includes(true)) served.push({ lane, offers: isServed.map(Number).join('') });
    }
    const list = (values: readonly number[]): string => `{${values.join(',')}}`;
    const queueNumbers = new Map<string, number>();
    for (const { queue, queueNumber } of this.#lanes.all) queueNumbers.set(queue, queueNumber);
    const known = (queues ?? []).filter(({ queue }) => queueNumbers.has(queue));
    return {
      lanes: served.map(({ lane }) => lane.lane),
      lanesText: list(served.map(({ lane }) => lane.lane)),
      queuesText: list(served.map(({ lane }) => lane.queueNumber)),
      offersText: `{${served.map(({ offers }) => offers).join(',')}}`,
      quotasText:
        quotas === undefined
          ? null
          : list(served.map(({ lane }) => Math.min(quotas.get(lane.queue) ?? 0, 1e9))),
      ownText: list(own),
      quotaQueuesText:
        queues === undefined ? null : list(known.map(({ queue }) => queueNumbers.get(queue) as number)),
      quotaLimitsText: queues === undefined ? null : list(known.map(({ limit }) => Math.min(limit, 1e9))),
    };
  }
}

function kindKey({ type, capabilities, placement }: TaskKind): string {
  return JSON.stringify([type, placement, ...capabilities]);
}
