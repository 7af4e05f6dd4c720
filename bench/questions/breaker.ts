import { ConsecutiveBreaker, circuitBreaker, handleAll } from 'cockatiel';
import Opossum from 'opossum';
import { nsPerStep } from '../harness/loops.ts';
import { defineQuestion, type Scale } from '../harness/question.ts';
import { CircuitBreaker, EventBus } from '../ours.ts';

const call = async (): Promise<number> => 1;

async function closedPath(scale: Scale, one: () => Promise<unknown>): Promise<Record<string, number>> {
  const value = await nsPerStep(async (n) => {
    for (let i = 0; i < n; i++) await one();
  }, scale.of(300_000));
  return { 'closed path': value };
}

export const breaker = defineQuestion({
  name: 'breaker',
  asks: 'what does a call through a closed circuit breaker cost?',
  metrics: [{ name: 'closed path', unit: 'ns' }],
  contestants: {
    agentmesh: {
      note: 'counts, generations, events',
      run(scale) {
        const own = new CircuitBreaker(
          'api',
          { failureThreshold: 5, successThreshold: 3, timeout: 60_000, halfOpenLimit: 2 },
          undefined,
          new EventBus(),
        );
        return closedPath(scale, () => own.execute(call));
      },
    },
    cockatiel: {
      note: 'consecutive breaker; closes after one probe',
      run(scale) {
        const policy = circuitBreaker(handleAll, {
          halfOpenAfter: 60_000,
          breaker: new ConsecutiveBreaker(5),
        });
        return closedPath(scale, () => policy.execute(call));
      },
    },
    opossum: {
      note: 'time limit switched off',
      run(scale) {
        const circuit = new Opossum(call, { timeout: false, resetTimeout: 60_000 });
        return closedPath(scale, () => circuit.fire());
      },
    },
    'opossum as it comes': {
      note: 'with its time limit, a timer each call',
      run(scale) {
        const circuit = new Opossum(call, { resetTimeout: 60_000 });
        return closedPath(scale, () => circuit.fire());
      },
    },
    'bare call': { note: 'no breaker', run: (scale) => closedPath(scale, call) },
  },
  control: {
    contestant: 'opossum as it comes',
    metric: 'closed path',
    by: 1.5,
    why: 'a native timer at each call',
  },
  goals: [{ text: '≤ cockatiel', metric: 'closed path', versus: 'cockatiel', atMost: 1 }],
});
