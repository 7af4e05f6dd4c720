import type { Distribution, Histogram } from '../histogram.ts';
import { RateMeter } from '../rate-meter.ts';
import type { FigureParts, Figures, Listen, Tally } from './figures.ts';

export interface MessageMetrics {
  readonly sent: number;
  readonly received: number;
  readonly redelivered: number;
  readonly dropped: number;
  readonly buried: number;
  /** Deliveries in the last minute, counted. */
  readonly messageThroughput: number;
  /** From sending to the handler, ms. */
  readonly latency: Distribution;
}

export class MessageFigures implements Figures {
  readonly #parts: FigureParts;
  readonly #rate = new RateMeter();
  readonly #latency: Histogram;
  #redelivered = 0;
  #dropped = 0;
  #buried = 0;

  constructor(parts: FigureParts) {
    this.#parts = parts;
    const { registry, gauges } = parts;
    const name = 'agentmesh_message_delivery_duration_seconds';
    this.#latency = registry.histogram(name, 'From sending to the handler.');
    registry.gauge('agentmesh_mailbox_messages', 'Undelivered messages.', () => {
      const mailboxes = gauges.read('mailboxes');
      return mailboxes === undefined ? [] : [{ labels: {}, value: mailboxes.messages }];
    });
  }

  listen(on: Listen, tally: Tally): void {
    const { history, registry } = this.#parts;
    const sent = history.count('message.sent');
    const sends = registry.counter('agentmesh_messages_sent_total', 'Messages stored or handed over.');
    tally('message:sent', (n) => {
      sent.total += n;
      sends.add(n);
    });
    const received = history.count('message.received');
    const deliveries = registry.counter('agentmesh_messages_delivered_total', 'Messages given to a handler.');
    const again = registry.counter('agentmesh_messages_redelivered_total', 'Deliveries after the first.');
    on('message:received', ({ delivery, latencyMs }) => {
      received.total += 1;
      deliveries.add();
      this.#latency.record(latencyMs);
      if (delivery <= 1) return;
      this.#redelivered += 1;
      again.add();
    });
    const drops = registry.counter('agentmesh_messages_dropped_total', 'Messages dropped.', 'reason');
    on('message:dropped', ({ count, reason }) => {
      this.#dropped += count;
      drops.add(count, reason);
    });
    const burials = registry.counter(
      'agentmesh_messages_dead_lettered_total',
      'Messages that became dead letters.',
    );
    on('message:buried', () => {
      this.#buried += 1;
      burials.add();
    });
  }

  mark(now: number): void {
    this.#rate.mark(now, this.#received);
  }

  read(now: number): MessageMetrics {
    return {
      sent: this.#parts.history.count('message.sent').total,
      received: this.#received,
      redelivered: this.#redelivered,
      dropped: this.#dropped,
      buried: this.#buried,
      messageThroughput: this.#rate.perMinute(now, this.#received),
      latency: this.#latency.summary(),
    };
  }

  clear(): void {
    this.#redelivered = this.#dropped = this.#buried = 0;
    this.#rate.clear();
  }

  get #received(): number {
    return this.#parts.history.count('message.received').total;
  }
}
