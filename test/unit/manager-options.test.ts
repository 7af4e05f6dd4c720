import { describe, expect, test } from 'vitest';
import { CoordinationManager, memory } from '../../src/index.ts';

const make = (options: object): CoordinationManager => new CoordinationManager(options);
const refused = (key: string, hint: RegExp): object =>
  expect.objectContaining({
    code: 'INVALID_OPTION',
    message: expect.stringContaining(JSON.stringify(key)) as string,
    hint: expect.stringMatching(hint) as string,
  });

describe('a manager reads every option it takes, or refuses it', () => {
  test.each([
    ['retry', { retry: { maxAttempts: 2 } }, /scheduling: \{ retry: /],
    ['queue', { queue: { maxRunning: 1 } }, /mesh\.queues\.configure\(queue/],
    ['manager', { manager: { maxRetries: 1 } }, /top of the manager's options/],
    ['maxAttempts', { maxAttempts: 2 }, /`scheduling: \{ retry: \{ maxAttempts \} \}`/],
    ['maxRunning', { maxRunning: 1 }, /mesh\.queues\.configure\(queue, \{ maxRunning \}\)/],
    ['agentSlots', { agentSlots: 3 }, /`scheduling: \{ agentSlots \}`/],
    ['maxLength', { maxLength: 3 }, /configure\(queue, \{ maxLength \}\)` or `messaging: \{ maxLength \}`/],
    ['heartbeat', { heartbeat: 5 }, /`health`/],
    ['eventBus', { eventBus: {} }, /`events`/],
    ['maxRetry', { maxRetry: 2 }, /Did you mean `maxRetries`\?/],
    ['retries', { retries: 2 }, /Did you mean `maxRetries`\?/],
    ['xyzzyplugh', { xyzzyplugh: 1 }, /^Known are: /],
  ])('%s at the top is refused and its place named', (key, options, hint) => {
    expect(() => make(options)).toThrow(refused(key, hint));
  });

  test.each([
    ['leaseMs', { messaging: { leaseMs: 20 } }, /`resources: \{ leaseMs \}`/],
    ['messageTimeout', { resources: { messageTimeout: 20 } }, /top of the manager's options/],
    ['maxConcurrency', { scheduling: { maxConcurrency: 3 } }, /Did you mean `maxConcurrentTasks`\?/],
    ['failures', { breakers: { failures: 3 } }, /Did you mean `failureThreshold`\?/],
    ['interval', { metrics: { interval: 1 } }, /Did you mean `intervalMs`\?/],
  ])('%s in the options of a part that would not read it is refused', (key, options, hint) => {
    expect(() => make(options)).toThrow(refused(key, hint));
  });

  test("what is read under the predecessor's names stays accepted in its part", () => {
    expect(() =>
      make({
        maxRetries: 1,
        scheduling: { retry: { factor: 1 } },
        resources: { resourceTimeout: 10, deadlockDetection: false },
        messaging: { messageTimeout: 10 },
        workStealing: false,
        metrics: false,
      }),
    ).not.toThrow();
    expect(() => make({ scheduling: { maxRetries: 1, retryDelay: 5 } })).not.toThrow();
  });
});

describe('allow', () => {
  test.each([[['ENCODIN']], [['ENCODING', 'all']], [[undefined]], [['']]])(
    '%j is refused, with the list of codes',
    (allow) => {
      expect(() => make({ allow })).toThrow(
        expect.objectContaining({
          code: 'INVALID_OPTION',
          message: expect.stringMatching(/^No start reports what `allow` names: /) as string,
          hint: expect.stringMatching(/^Known are: .*ENCODING.*REPLICA/) as string,
        }) as Error,
      );
    },
  );

  test('what is no array is refused', () => {
    expect(() => make({ allow: 'ENCODING' })).toThrow(/an array of codes, got "ENCODING"/);
  });

  test('codes of any backend are taken, and those that a backend of your own names', () => {
    make({ allow: ['EVICTION', 'ENCODING'] });
    expect(() => make({ allow: ['MOON'] })).toThrow(/"MOON"/);
    make({ allow: ['MOON', 'REPLICA'], backend: { ...memory(), problems: ['MOON'] } });
  });
});
