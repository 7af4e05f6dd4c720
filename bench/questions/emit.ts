import { EventEmitter } from 'eventemitter3';
import { nsPerStep, sink } from '../harness/loops.ts';
import { defineQuestion } from '../harness/question.ts';
import { EventBus } from '../ours.ts';

const NAMES = ['task:created', 'task:readied', 'task:started', 'task:completed'] as const;
const LISTENED = ['resource:acquired', 'resource:released', 'message:sent', 'message:received'] as const;
const payload = { taskId: 'a', queue: 'q' };
const hear = (event: unknown): void => {
  sink.value += (event as typeof payload).taskId.length;
};

interface Emitter {
  on(name: string, listener: (payload: unknown) => void): unknown;
  emit(name: string, payload: unknown): unknown;
}

/** One emitter with listeners, one without: each in the shape that it has in a program with several kinds of events. */
async function ask(create: () => Emitter, n: number): Promise<Record<string, number>> {
  const heard = create();
  for (const name of [...NAMES, ...LISTENED]) heard.on(name, hear);
  const one = await nsPerStep((steps) => {
    for (let i = 0; i < steps; i++) heard.emit('task:readied', payload);
  }, n);
  const four = await nsPerStep((steps) => {
    for (let i = 0; i < steps; i += 4) for (const name of NAMES) heard.emit(name, payload);
  }, n);
  return { 'one listener': one, 'four names in turn': four };
}

async function unheard(create: () => Emitter, n: number): Promise<Record<string, number>> {
  const quiet = create();
  for (const name of LISTENED) quiet.on(name, hear);
  const none = await nsPerStep((steps) => {
    for (let i = 0; i < steps; i++) quiet.emit('task:readied', payload);
  }, n);
  return { 'no listener': none };
}

const both = (create: () => Emitter) => ({
  async run(scale: { of(n: number): number }) {
    const n = scale.of(4_000_000);
    return { ...(await unheard(create, n)), ...(await ask(create, n)) };
  },
});

export const emit = defineQuestion({
  name: 'emit',
  asks: 'what does an event cost?',
  metrics: [
    { name: 'one listener', unit: 'ns' },
    { name: 'four names in turn', unit: 'ns' },
    { name: 'no listener', unit: 'ns' },
  ],
  contestants: {
    agentmesh: both(() => new EventBus()),
    eventemitter3: {
      note: 'no isolation of listeners, no count, no typed table',
      ...both(() => new EventEmitter() as Emitter),
    },
    'copies its listeners': {
      ...both(() => {
        const listeners = new Map<string, ((payload: unknown) => void)[]>();
        return {
          on: (name, listener) => listeners.set(name, [...(listeners.get(name) ?? []), listener]),
          emit: (name, event) => {
            for (const listener of [...(listeners.get(name) ?? [])]) listener({ ...(event as object) });
          },
        };
      }),
    },
  },
  control: {
    contestant: 'copies its listeners',
    metric: 'one listener',
    by: 1.3,
    why: 'copies listeners and payload at each event',
  },
  goals: [
    {
      text: '1 listener ≤ 1.5 × eventemitter3',
      metric: 'one listener',
      versus: 'eventemitter3',
      atMost: 1.5,
    },
    { text: '0 listeners ≤ 5 ns', metric: 'no listener', value: 5 },
  ],
});
