import fc from 'fast-check';
import { expect, test } from 'vitest';
import { EventBus } from '../../src/core/event-bus.ts';

/** What a listener does when it is called, beside writing itself down. */
type Deed =
  | { readonly kind: 'nothing' | 'throw' | 'reject' | 'leave' | 'add' | 'emit' }
  | { readonly kind: 'remove'; readonly which: number };
type Step =
  | { readonly kind: 'on' | 'once'; readonly name: number; readonly deed: Deed }
  | { readonly kind: 'dispose' | 'off'; readonly which: number }
  | { readonly kind: 'emit' | 'wants'; readonly name: number };

const NAMES = ['custom:a', 'custom:b', 'custom:__proto__'] as const;

/** The reference: a list of registrations in order, walked as it was when the emission began. */
class Model {
  readonly entries: {
    readonly id: number;
    readonly name: number;
    readonly once: boolean;
    readonly deed: Deed;
    called: boolean;
    gone: boolean;
  }[] = [];
  readonly log: string[] = [];
  failures = 0;
  #depth = 0;
  readonly counts = [0, 0, 0];

  add(name: number, once: boolean, deed: Deed): void {
    this.entries.push({ id: this.entries.length, name, once, deed, called: false, gone: false });
  }
  remove(which: number): void {
    const entry = this.entries[which % Math.max(1, this.entries.length)];
    if (entry !== undefined) entry.gone = true;
  }
  wants(name: number): boolean {
    return this.entries.some((entry) => entry.name === name && !entry.gone);
  }
  emit(name: number): void {
    this.counts[name] = (this.counts[name] ?? 0) + 1;
    for (const entry of this.entries.filter((found) => found.name === name && !found.gone)) {
      if (entry.once) {
        if (entry.called) continue;
        entry.called = true;
        entry.gone = true;
      }
      this.log.push(`${entry.id}`);
      const { deed } = entry;
      if (deed.kind === 'throw' || deed.kind === 'reject') this.failures += 1;
      else if (deed.kind === 'leave') entry.gone = true;
      else if (deed.kind === 'remove') this.remove(deed.which);
      else if (deed.kind === 'add') this.add(name, false, { kind: 'nothing' });
      else if (deed.kind === 'emit' && this.#depth < 2) {
        this.#depth += 1;
        this.emit(name);
        this.#depth -= 1;
      }
    }
  }
}

const deed: fc.Arbitrary<Deed> = fc.oneof(
  fc.constantFrom<Deed>(
    { kind: 'nothing' },
    { kind: 'throw' },
    { kind: 'reject' },
    { kind: 'leave' },
    { kind: 'add' },
    { kind: 'emit' },
  ),
  fc.record({ kind: fc.constant('remove' as const), which: fc.nat(10) }),
);
const name = fc.nat(NAMES.length - 1);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constantFrom('on' as const, 'once' as const), name, deed }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constantFrom('dispose' as const, 'off' as const), which: fc.nat(10) }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constantFrom('emit' as const, 'wants' as const), name }) },
);

test('G5: listeners that throw, reject, leave, remove, add and emit again change nothing but what they say', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
      const bus = new EventBus();
      const model = new Model();
      const log: string[] = [];
      let failures = 0;
      bus.on('listener:failed', () => void (failures += 1));
      const registered: { readonly subscription: Disposable; readonly end: () => void }[] = [];
      let depth = 0;

      const add = (of: number, once: boolean, does: Deed): void => {
        const id = registered.length;
        const event = NAMES[of] as (typeof NAMES)[number];
        const listener = (): void | Promise<void> => {
          log.push(`${id}`);
          switch (does.kind) {
            case 'throw':
              throw new Error('thrown');
            case 'reject':
              return Promise.reject(new Error('rejected'));
            case 'leave':
              return subscription[Symbol.dispose]();
            case 'remove':
              return remove(does.which, 'dispose');
            case 'add':
              return add(of, false, { kind: 'nothing' });
            case 'emit':
              if (depth >= 2) return undefined;
              depth += 1;
              bus.emit(event, undefined);
              depth -= 1;
              return undefined;
            default:
              return undefined;
          }
        };
        const subscription = once ? bus.once(event, listener) : bus.on(event, listener);
        registered.push({ subscription, end: () => bus.off(event, listener) });
      };
      const remove = (which: number, how: 'dispose' | 'off'): void => {
        const found = registered[which % Math.max(1, registered.length)];
        if (how === 'off') found?.end();
        else found?.subscription[Symbol.dispose]();
      };

      for (const action of steps) {
        if (action.kind === 'on' || action.kind === 'once') {
          add(action.name, action.kind === 'once', action.deed);
          model.add(action.name, action.kind === 'once', action.deed);
        } else if (action.kind === 'dispose' || action.kind === 'off') {
          remove(action.which, action.kind);
          model.remove(action.which);
        } else if (action.kind === 'emit' || action.kind === 'wants') {
          const event = NAMES[action.name] as (typeof NAMES)[number];
          if (action.kind === 'emit') {
            bus.emit(event, undefined);
            model.emit(action.name);
          } else {
            const wanted = bus.wants(event);
            expect(wanted).toBe(model.wants(action.name));
            if (!wanted) model.counts[action.name] = (model.counts[action.name] ?? 0) + 1;
          }
        }
        expect(log).toEqual(model.log);
      }
      await new Promise((resolve) => setImmediate(resolve));
      expect(failures).toBe(model.failures);
      const stats = bus.getEventStats();
      NAMES.forEach((event, i) => expect(stats[event]?.count ?? 0).toBe(model.counts[i]));
    }),
  );
});

test('a stream hands out every event once and in order, or counts it as dropped', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 8 }),
      fc.array(fc.oneof(fc.constant('read' as const), fc.integer({ min: 1, max: 6 })), { maxLength: 20 }),
      async (capacity, steps) => {
        const bus = new EventBus();
        const controller = new AbortController();
        const stream = bus.stream({ capacity, signal: controller.signal });
        const reader = stream[Symbol.asyncIterator]();
        const reads: Promise<IteratorResult<{ readonly payload: unknown }>>[] = [];
        let emitted = 0;
        for (const action of steps) {
          if (action === 'read') reads.push(reader.next());
          else for (let i = 0; i < action; i++) bus.emit('queue:paused', { queue: String(emitted++) });
          await Promise.resolve();
          await Promise.resolve();
        }
        controller.abort();
        for (let last = await reader.next(); last.done !== true; last = await reader.next())
          reads.push(Promise.resolve(last));
        const got = (await Promise.all(reads))
          .filter((read) => read.done !== true)
          .map((read) => Number((read.value.payload as { readonly queue: string }).queue));
        expect(got).toEqual(got.toSorted((a, b) => a - b));
        expect(new Set(got).size).toBe(got.length);
        expect(got.length + stream.dropped).toBe(emitted);
      },
    ),
  );
});
