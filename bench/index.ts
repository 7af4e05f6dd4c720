import { cpus, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { controlLost, judge, jsonOf, tableOf } from './harness/report.ts';
import { type Measured, measure } from './harness/rounds.ts';
import { questions } from './questions/index.ts';

/**
 * `npm run bench [-- --only name,…] [--rounds N] [--size 0.1] [--seconds 60] [--json]`. Exit code 1 when a control did not lose: then the
 * figures mean nothing. Goals that are not met are said, and do not fail.
 */
const { values: asked } = parseArgs({
  options: {
    only: { type: 'string' },
    rounds: { type: 'string' },
    size: { type: 'string', default: '1' },
    seconds: { type: 'string', default: '60' },
    json: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
  },
});
const only = asked.only?.split(',');
const chosen = questions.filter((question) => only === undefined || only.includes(question.name));
if (chosen.length === 0)
  throw new Error(`no such question; there are: ${questions.map((q) => q.name).join(', ')}`);
const say = asked.json ? console.error : console.log;

if (asked.list) {
  for (const question of chosen) console.log(`${question.name.padEnd(22)} ${question.asks}`);
} else {
  const machine = `Node ${process.versions.node}, ${cpus().length} × ${cpus()[0]?.model ?? '?'}, load average ${loadavg()[0]?.toFixed(1)}`;
  say(`${machine}. Ratios are taken round by round, the median is shown; smaller is better everywhere.`);
  const results: Measured[] = [];
  for (const question of chosen) {
    const result = await measure(question, {
      rounds: Number(asked.rounds ?? question.rounds ?? 5),
      size: Number(asked.size),
      seconds: Number(asked.seconds),
    });
    results.push(result);
    say(tableOf(result));
  }
  const goals = results.flatMap((result) => result.question.goals.map((goal) => judge(result, goal)));
  const toothless = results
    .filter((result) => !controlLost(result).lost)
    .map((result) => result.question.name);
  say(`\n${goals.filter((goal) => goal.met).length} of ${goals.length} goals met`);
  if (toothless.length > 0) say(`toothless: ${toothless.join(', ')}`);
  if (asked.json)
    console.log(JSON.stringify({ machine, at: new Date().toISOString(), questions: results.map(jsonOf) }));
  process.exitCode = toothless.length > 0 ? 1 : 0;
}
