import type { RunOrder } from './harness/rounds.ts';
import { questions } from './questions/index.ts';

/** One run of one contestant; the last line is JSON. */
const order = JSON.parse(process.argv[2] ?? '') as RunOrder;
const question = questions.find(({ name }) => name === order.question);
const contestant = question?.contestants(order.setting)[order.contestant];
if (contestant === undefined) throw new Error(`no contestant ${order.contestant} in ${order.question}`);
const values = await contestant.run(order.place, {
  of: (n, least = 1) => Math.max(least, Math.round(n * order.size)),
});
process.stdout.write(`\n${JSON.stringify(values)}\n`, () => process.exit(0));
