import { html, type Html, px } from './html.ts';
import type { Deadlock } from './timeline.ts';

/** One deadlock as the ring it is: each task holds what the one before it waits for. */
export function drawCycle({ cycle, victim }: Deadlock): Html {
  const radius = cycle.length > 3 ? 120 : 92;
  const [cx, cy] = [300, radius + 46];
  // Around the ring: task, file, task, file …
  const nodes = cycle.flatMap(({ waiter, what }) => [
    { name: waiter, task: true },
    { name: what, task: false },
  ]);
  const at = (i: number): readonly [number, number] => {
    const angle = (2 * Math.PI * i) / nodes.length - Math.PI / 2;
    return [cx + radius * 1.75 * Math.cos(angle), cy + radius * Math.sin(angle)];
  };
  const arrows = nodes.map(({ task }, i) => {
    const [from, to] = [at(i), at(i + 1)];
    const short = (a: readonly [number, number], b: readonly [number, number]): string => {
      const length = Math.hypot(b[0] - a[0], b[1] - a[1]);
      return `${px(a[0] + (30 * (b[0] - a[0])) / length)} ${px(a[1] + (30 * (b[1] - a[1])) / length)}`;
    };
    const [mx, my] = [(from[0] + to[0]) / 2, (from[1] + to[1]) / 2];
    const out = 20 / Math.hypot(mx - cx, my - cy);
    const side = mx < cx ? 'end' : 'start';
    return html`<path class="edge ${task ? 'waits' : 'holds'}" marker-end="url(#ring-${task ? 'waits' : 'holds'})" d="M${short(from, to)} L${short(to, from)}"/><text class="edge-name" text-anchor="${side}" x="${px(mx + out * (mx - cx))}" y="${px(my + 4 + out * (my - cy))}">${task ? 'waits for' : 'held by'}</text>`;
  });
  const labels = nodes.map(({ name, task }, i) => {
    const [x, y] = at(i);
    const style = task ? (name === victim ? 'task victim' : 'task') : 'file';
    return task
      ? html`<g class="${style}"><rect x="${px(x - 44)}" y="${px(y - 16)}" width="88" height="32" rx="16"/><text x="${px(x)}" y="${px(y + 5)}">${name}</text></g>`
      : html`<g class="${style}"><rect x="${px(x - 110)}" y="${px(y - 15)}" width="220" height="30" rx="4"/><text x="${px(x)}" y="${px(y + 4)}">${shorten(name)}</text><title>${name}</title></g>`;
  });
  const head = (name: string): Html =>
    html`<marker id="ring-${name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="9" markerHeight="9" orient="auto"><path class="${name}" d="M0 0 L8 4 L0 8 z"/></marker>`;
  return html`<svg class="cycle" viewBox="0 0 600 ${px(2 * radius + 92)}" role="img" aria-label="The cycle of the deadlock"><defs>${head('waits')}${head('holds')}</defs>${arrows}${labels}</svg>`;
}

function shorten(path: string): string {
  return path.length <= 32 ? path : `…${path.slice(-31)}`;
}
