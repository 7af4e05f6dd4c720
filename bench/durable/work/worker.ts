import { machineMs, type Payload } from '../systems/system.ts';
import { systemOf } from '../systems/index.ts';
import type { CrewOrder, CrewWord } from './crew.ts';
import { Tally } from './tally.ts';

const order = JSON.parse(process.argv[2] ?? '') as CrewOrder;
const say = (word: CrewWord): void => void process.send?.(word);
const open = await systemOf(order.system).open(order.place, order.options);
const tally = new Tally(order.jobs);

function handle(payload: Payload): void {
  const ms = machineMs() - payload.at;
  tally.see(payload);
  if (order.tells) say({ say: 'ran', n: payload.n, ms });
}

async function end(): Promise<void> {
  const { runs, twice, firstAt, seen } = tally;
  const rss = process.resourceUsage().maxRSS / 1_024;
  say({ say: 'sum', runs, twice, firstAt, seen: Buffer.from(seen).toString('base64'), rss });
  await open.close();
  process.disconnect();
  process.exit(0);
}

process.on('message', (word) => {
  if (word === 'end') void end();
  else void open.work(order.slots, handle).then(() => say({ say: 'at work' }));
});
say({ say: 'ready' });
