import { deliveryTests } from './messages/deliveries.ts';
import { messageTest } from './messages/harness.ts';
import { mailboxTests } from './messages/mailboxes.ts';
import { topicTests } from './messages/topics.ts';
import type { SuiteOptions } from './suite.ts';

/** Conformance of `MessageTransport` with `redelivery: 'item'`: mailboxes, order, redelivery, dead letters, topics, exact counters. */
export function messageSuite(options: SuiteOptions): void {
  const test = messageTest(options);
  mailboxTests(test);
  deliveryTests(test);
  topicTests(test);
}
