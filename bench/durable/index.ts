import { cpus, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import type { Setting } from './harness/question.ts';
import { controlLost, jsonOf, judge, tableOf } from './harness/report.ts';
import { type Measured, measure } from './harness/rounds.ts';
import { startServer } from './harness/servers.ts';
import { questions } from './questions/index.ts';

/**
 * `npm run bench:durable [-- --backend postgres|redis] [--only name,…] [--rounds N] [--size 0.1] [--quick] [--json] [--list]`. Exit code 1
 * when a control did not lose, for then the figures mean nothing, or when a job was lost or ran twice. Goals that are not met are said, and
 * do not fail.
 */
const { values: asked } = parseArgs({
  options: {
    backend: { type: 'string' },
    only: { type: 'string' },
    rounds: { type: 'string' },
    size: { type: 'string' },
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
  },
});
const only = asked.only?.split(',');
const chosen = questions.filter((question) => only === undefined || only.includes(question.name));
if (chosen.length === 0)
  throw new Error(`no such question; there are: ${questions.map((q) => q.name).join(', ')}`);
if (asked.backend !== undefined && asked.backend !== 'postgres' && asked.backend !== 'redis')
  throw new Error('--backend is postgres or redis');
const say = asked.json ? console.error : console.log;

const SETTINGS: readonly Setting[] = ['postgres', 'redis-everysec', 'redis-always'];
const settings = SETTINGS.filter(
  (setting) => asked.backend === undefined || setting.startsWith(asked.backend),
);

if (asked.list) {
  for (const question of chosen)
    console.log(`${question.name.padEnd(14)} ${question.settings.join(', ').padEnd(40)} ${question.asks}`);
} else {
  const machine = `Node ${process.versions.node}, ${cpus().length} × ${cpus()[0]?.model ?? '?'}, load average ${loadavg()[0]?.toFixed(1)}`;
  say(`${machine}. Ratios are taken round by round, the median is shown.`);
  const results: Measured[] = [];
  const failures: string[] = [];
  for (const setting of settings) {
    const here = chosen.filter((question) => question.settings.includes(setting));
    if (here.length === 0) continue;
    const server = await startServer(setting);
    try {
      for (const question of here) {
        const plan = {
          rounds: Number(asked.rounds ?? (asked.quick ? 1 : (question.rounds ?? 5))),
          size: Number(asked.size ?? (asked.quick ? 0.05 : 1)),
        };
        try {
          const result = await measure(question, setting, server, plan);
          results.push(result);
          say(tableOf(result));
        } catch (error) {
          failures.push(String(error));
          say(`\n${question.name}: FAILED: ${String(error)}`);
        }
      }
    } finally {
      await server.stop();
    }
  }
  const goals = results.flatMap((result) =>
    result.question.goals(result.setting).map((goal) => judge(result, goal)),
  );
  const toothless = results
    .filter((result) => !controlLost(result).lost)
    .map((result) => `${result.question.name} on ${result.setting}`);
  say(`\n${goals.filter((goal) => goal.met).length} of ${goals.length} goals met`);
  if (toothless.length > 0) say(`toothless: ${toothless.join(', ')}`);
  if (failures.length > 0) say(`failed: ${failures.join('; ')}`);
  if (asked.json)
    console.log(
      JSON.stringify({
        machine,
        at: new Date().toISOString(),
        quick: asked.quick,
        questions: results.map(jsonOf),
        failures,
      }),
    );
  process.exitCode = toothless.length > 0 || failures.length > 0 ? 1 : 0;
}
