import type { Question } from './question.ts';

/** One run of one contestant: `child.ts <question> <contestant> <size> <seconds>`; the last line is JSON. */
const [name, contestant = '', size = '1', seconds = '10'] = process.argv.slice(2);
const [question] = Object.values((await import(`../questions/${name}.ts`)) as Record<string, Question>);
const chosen = question?.contestants[contestant];
if (question?.name !== name || chosen === undefined)
  throw new Error(`no contestant ${contestant} in ${name}`);
const values = await chosen.run({
  of: (n) => Math.max(1, Math.round(n * Number(size))),
  seconds: Number(seconds),
});
process.stdout.write(`\n${JSON.stringify(values)}\n`, () => process.exit(0));
