import fc from 'fast-check';
import { expect, test } from 'vitest';
import { EventBus } from '../../src/core/event-bus.ts';
import { createIds } from '../../src/core/runtime/ids.ts';
import { silentLogger } from '../../src/core/runtime/logger.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';
import { type AgentLoad, decideSteals, type PlannedSteal } from '../../src/work-stealing/steal-policy.ts';
import {
  type StealMove,
  WorkStealingCoordinator,
} from '../../src/work-stealing/work-stealing-coordinator.ts';

const SKILLS = ['x', 'y'] as const;
const OPTIONS = { stealThreshold: 2, maxStealBatch: 2, maxMoves: 3 };

interface Task {
  readonly id: string;
  readonly needs: readonly string[];
  starts: number;
  moves: number;
}

interface Worker {
  readonly id: string;
  readonly skills: readonly string[];
  readonly queue: Task[];
  readonly started: Task[];
}

const can = (worker: Worker, task: Task): boolean => task.needs.every((need) => worker.skills.includes(need));

/** Agents with run queues, and the mover that a manager would hand over. Every task is somewhere, at every moment. */
class Mesh {
  readonly workers = new Map<string, Worker>();
  readonly tasks: Task[] = [];
  /** Tasks whose agent died and that nobody can do now. */
  readonly waiting: Task[] = [];
  readonly done = new Set<Task>();
  readonly stealing: WorkStealingCoordinator;
  readonly stolen: { readonly from: string; readonly to: string; readonly ids: readonly string[] }[] = [];
  readonly stealIds: string[] = [];
  /** The mover crashes before its next so-many-th step. */
  crashAfter = Number.POSITIVE_INFINITY;
  /** Waited for before each step. */
  pause: () => Promise<void> = () => Promise.resolve();

  constructor(agents: readonly (readonly string[])[]) {
    agents.forEach((skills, i) => this.workers.set(`w${i}`, { id: `w${i}`, skills, queue: [], started: [] }));
    const clock = createTestClock();
    const random = createRandom(1);
    const runtime = { clock, random, ids: createIds(clock, random), logger: silentLogger };
    const bus = new EventBus({ clock });
    bus.on('work:stolen', ({ stealId, sourceAgent, targetAgent, taskIds }) => {
      this.stealIds.push(stealId);
      this.stolen.push({ from: sourceAgent, to: targetAgent, ids: taskIds });
    });
    this.stealing = new WorkStealingCoordinator(OPTIONS, bus, undefined, (moves) => this.#move(moves), {
      runtime,
      loads: () => this.loads(),
    });
  }

  loads(): AgentLoad[] {
    return Array.from(this.workers.values(), ({ id, skills, queue, started }) => ({
      agentId: id,
      taskCount: queue.length + started.length,
      capabilities: skills,
      waiting: queue.filter((task) => task.moves < 3).map((task) => ({ capabilities: task.needs, count: 1 })),
    }));
  }

  arrive(agent: number, needs: readonly string[]): void {
    const task: Task = { id: `t${this.tasks.length}`, needs, starts: 0, moves: 0 };
    this.tasks.push(task);
    const able = [...this.workers.values()].filter((worker) => can(worker, task));
    const worker = able[agent % Math.max(1, able.length)];
    (worker?.queue ?? this.waiting).push(task);
  }

  start(agent: number): void {
    const worker = this.#worker(agent);
    const task = worker?.queue.shift();
    if (task === undefined) return;
    task.starts += 1;
    worker?.started.push(task);
  }

  finish(agent: number): void {
    const task = this.#worker(agent)?.started.shift();
    if (task !== undefined) this.done.add(task);
  }

  die(agent: number): void {
    const worker = this.#worker(agent);
    if (worker === undefined || this.workers.size === 1) return;
    this.workers.delete(worker.id);
    this.stealing.removeAgent(worker.id);
    // What it had started is a crash and counts as a new life of the task; W1 is about one life.
    for (const task of worker.started) task.starts = 0;
    this.waiting.push(...worker.queue, ...worker.started);
  }

  check(): void {
    const places = [...this.workers.values()].flatMap(({ queue, started }) => [...queue, ...started]);
    const all = [...places, ...this.waiting, ...this.done];
    expect(all.length, 'W2: every task is in one place').toBe(this.tasks.length);
    expect(new Set(all).size, 'W2: no task is in two places').toBe(this.tasks.length);
    for (const task of this.tasks) {
      expect(task.starts, 'W1').toBeLessThanOrEqual(1);
      expect(task.moves, 'W3').toBeLessThanOrEqual(3);
    }
    for (const worker of this.workers.values()) {
      for (const task of worker.queue) expect(can(worker, task), 'W5').toBe(true);
    }
    expect(new Set(this.stealIds).size, 'each steal id once').toBe(this.stealIds.length);
  }

  #worker(agent: number): Worker | undefined {
    return [...this.workers.values()][agent % this.workers.size];
  }

  async #move(moves: readonly StealMove[]): Promise<string[][]> {
    const answers: string[][] = [];
    for (const move of moves) {
      await this.pause();
      this.crashAfter -= 1;
      if (this.crashAfter < 0) {
        this.crashAfter = Number.POSITIVE_INFINITY;
        throw new Error('crash between two steps');
      }
      answers.push(this.#moveOne(move));
    }
    return answers;
  }

  #moveOne({ from, to, count, maxMoves }: StealMove): string[] {
    const source = this.workers.get(from);
    const target = this.workers.get(to);
    if (source === undefined || target === undefined) return [];
    const moved: string[] = [];
    for (let i = source.queue.length - 1; i >= 0 && moved.length < count; i--) {
      const task = source.queue[i] as Task;
      if (task.moves >= maxMoves || !can(target, task)) continue;
      source.queue.splice(i, 1);
      target.queue.push(task);
      task.moves += 1;
      moved.push(task.id);
    }
    return moved;
  }
}

class Step implements fc.AsyncCommand<{ tasks: number }, Mesh> {
  readonly #name: 'start' | 'finish' | 'die';
  readonly #agent: number;
  constructor(name: 'start' | 'finish' | 'die', agent: number) {
    this.#name = name;
    this.#agent = agent;
  }
  check = (): boolean => true;
  async run(_model: { tasks: number }, mesh: Mesh): Promise<void> {
    mesh[this.#name](this.#agent);
    mesh.check();
  }
  toString = (): string => `${this.#name}(${this.#agent})`;
}

class Arrive implements fc.AsyncCommand<{ tasks: number }, Mesh> {
  readonly #agent: number;
  readonly #needs: readonly string[];
  readonly #many: number;
  constructor(agent: number, needs: readonly string[], many: number) {
    this.#agent = agent;
    this.#needs = needs;
    this.#many = many;
  }
  check = (): boolean => true;
  async run(model: { tasks: number }, mesh: Mesh): Promise<void> {
    for (let i = 0; i < this.#many; i++) mesh.arrive(this.#agent, this.#needs);
    model.tasks += this.#many;
    expect(mesh.tasks.length).toBe(model.tasks);
  }
  toString = (): string => `arrive(${this.#agent}, [${this.#needs.join()}], ${this.#many})`;
}

class Round implements fc.AsyncCommand<{ tasks: number }, Mesh> {
  readonly #crashAfter: number | undefined;
  constructor(crashAfter: number | undefined) {
    this.#crashAfter = crashAfter;
  }
  check = (): boolean => true;
  async run(_model: { tasks: number }, mesh: Mesh): Promise<void> {
    mesh.crashAfter = this.#crashAfter ?? Number.POSITIVE_INFINITY;
    const before = mesh.stolen.length;
    const { moved } = await mesh.stealing.checkAndSteal();
    const reported = mesh.stolen.slice(before).reduce((sum, { ids }) => sum + ids.length, 0);
    expect(moved, 'what is reported is what is counted').toBe(reported);
    mesh.check();
  }
  toString = (): string => `round(${this.#crashAfter ?? 'no crash'})`;
}

const skills = fc.subarray([...SKILLS]);
const agents = fc.array(skills, { minLength: 1, maxLength: 6 });
const someAgent = fc.nat({ max: 5 });
const steps = [
  fc
    .tuple(someAgent, skills, fc.integer({ min: 1, max: 6 }))
    .map(([agent, needs, many]) => new Arrive(agent, needs, many)),
  fc
    .tuple(fc.constantFrom('start' as const, 'finish' as const), someAgent)
    .map(([name, agent]) => new Step(name, agent)),
  fc.constant(new Round(undefined)),
  someAgent.map((agent) => new Step('die', agent)),
  fc.nat({ max: 3 }).map((crashAfter) => new Round(crashAfter)),
];

test('W1, W2, W3, W5: never started twice, nothing lost with a crash after any step, at most three moves, never to the dead or incapable', async () => {
  let runs = 0;
  let moving = 0;
  await fc.assert(
    fc.asyncProperty(agents, fc.commands(steps, { maxCommands: 25 }), async (crew, commands) => {
      const mesh = new Mesh(crew);
      for (let i = 0; i < 8; i++) mesh.arrive(0, i % 2 === 0 ? [] : [...(crew[0] ?? [])]);
      await fc.asyncModelRun(() => ({ model: { tasks: 8 }, real: mesh }), commands);
      runs += 1;
      moving += mesh.stolen.length > 0 ? 1 : 0;
    }),
  );
  expect(moving / runs, 'share of runs in which something moved').toBeGreaterThan(0.3);
});

test('W1, W2, W5 hold however starts, deaths and arrivals fall between the steps of a round', async () => {
  const act = fc.record({ kind: fc.constantFrom('start', 'start', 'die', 'arrive'), agent: someAgent });
  await fc.assert(
    fc.asyncProperty(
      agents,
      fc.array(act, { maxLength: 8 }),
      fc.scheduler(),
      async (crew, acts, scheduler) => {
        const mesh = new Mesh(crew);
        for (let i = 0; i < 10; i++) mesh.arrive(0, []);
        mesh.pause = () => scheduler.schedule(Promise.resolve());
        const rounds = [mesh.stealing.checkAndSteal(), mesh.stealing.checkAndSteal()];
        for (const { kind, agent } of acts) {
          void scheduler.schedule(Promise.resolve(), kind).then(() => {
            if (kind === 'start') mesh.start(agent);
            else if (kind === 'die') mesh.die(agent);
            else mesh.arrive(agent, []);
            mesh.check();
          });
        }
        await scheduler.waitFor(Promise.all(rounds));
        await scheduler.waitIdle();
        mesh.check();
      },
    ),
  );
});

const loadsOf = (counts: readonly number[]): AgentLoad[] =>
  counts.map((taskCount, i) => ({ agentId: `${i}`, taskCount }));

function applied(counts: readonly number[], steals: readonly PlannedSteal[]): number[] {
  const after = [...counts];
  for (const { from, to, count } of steals) {
    after[Number(from)] = (after[Number(from)] as number) - count;
    after[Number(to)] = (after[Number(to)] as number) + count;
  }
  return after;
}
const imbalance = (counts: readonly number[]): number => Math.max(...counts) - Math.min(...counts);

const crowds = fc.array(fc.nat({ max: 200 }), { minLength: 2, maxLength: 40 });
const rules = fc.record({
  stealThreshold: fc.integer({ min: 1, max: 30 }),
  maxStealBatch: fc.oneof(fc.integer({ min: 1, max: 5 }), fc.constant(1_000)),
});

test('W4: with no arrivals the imbalance falls to the threshold in at most 2·log₂ n rounds, then it rests', () => {
  fc.assert(
    fc.property(crowds, rules, (counts, options) => {
      let now = [...counts];
      let rounds = 0;
      while (imbalance(now) > options.stealThreshold) {
        now = applied(now, decideSteals(loadsOf(now), options));
        rounds += 1;
        expect(rounds).toBeLessThanOrEqual(2 * Math.log2(counts.length));
      }
      expect(decideSteals(loadsOf(now), options)).toEqual([]);
      expect(now.reduce((sum, count) => sum + count)).toBe(counts.reduce((sum, count) => sum + count));
    }),
  );
});

test('W4 with abilities: no agent keeps a movable task while one that can do it has fewer by more than the threshold', () => {
  const crew = fc.array(
    fc.record({
      skills,
      waiting: fc.array(fc.record({ capabilities: skills, count: fc.integer({ min: 1, max: 20 }) }), {
        maxLength: 3,
      }),
      running: fc.nat({ max: 5 }),
    }),
    { minLength: 2, maxLength: 12 },
  );
  fc.assert(
    fc.property(crew, rules, (given, options) => {
      const workers = given.map(({ waiting, ...rest }) => ({
        ...rest,
        waiting: waiting.map((tasks) => ({ ...tasks })),
      }));
      const total = (worker: (typeof workers)[number]): number =>
        worker.running + worker.waiting.reduce((sum, { count }) => sum + count, 0);
      const loads = (): AgentLoad[] =>
        workers.map((worker, i) => ({
          agentId: `${i}`,
          taskCount: total(worker),
          capabilities: worker.skills,
          waiting: worker.waiting,
        }));
      const gap = (): number =>
        Math.max(
          0,
          ...workers.flatMap((source) =>
            source.waiting
              .filter(({ count }) => count > 0)
              .flatMap(({ capabilities }) =>
                workers
                  .filter((target) => capabilities.every((name) => target.skills.includes(name)))
                  .map((target) => total(source) - total(target)),
              ),
          ),
        );
      const before = workers.reduce((sum, worker) => sum + total(worker), 0);
      const most = Math.max(1, Math.ceil(2 * Math.log2(workers.length)));
      for (let round = 0; round < most && gap() > options.stealThreshold; round++) {
        for (const { from, to, count } of decideSteals(loads(), options))
          move(workers, Number(from), Number(to), count);
      }
      expect(gap()).toBeLessThanOrEqual(options.stealThreshold);
      expect(workers.reduce((sum, worker) => sum + total(worker), 0)).toBe(before);
    }),
  );
});

/** As a mover does it: any tasks that the target can do. */
function move(
  workers: { skills: string[]; waiting: { capabilities: string[]; count: number }[] }[],
  from: number,
  to: number,
  count: number,
): void {
  const [source, target] = [workers[from], workers[to]];
  let left = count;
  for (const tasks of source?.waiting ?? []) {
    if (!tasks.capabilities.every((name) => target?.skills.includes(name))) continue;
    const moved = Math.min(left, tasks.count);
    tasks.count -= moved;
    left -= moved;
    if (moved > 0) target?.waiting.push({ capabilities: tasks.capabilities, count: moved });
  }
}

test('hysteresis: every steal goes down a gap, nobody gives and takes in one round, batches keep their size (W3)', () => {
  fc.assert(
    fc.property(crowds, rules, (counts, options) => {
      const steals = decideSteals(loadsOf(counts), options);
      const givers = new Set(steals.map(({ from }) => from));
      for (const { from, to, count } of steals) {
        expect(counts[Number(from)]).toBeGreaterThan(counts[Number(to)] as number);
        expect(givers.has(to)).toBe(false);
        expect(count).toBeGreaterThanOrEqual(1);
        expect(count).toBeLessThanOrEqual(options.maxStealBatch);
      }
      const after = applied(counts, steals);
      if (steals.length > 0)
        expect(imbalance(after)).toBeLessThanOrEqual(Math.max(1, options.stealThreshold / 2));
      else expect(imbalance(after)).toBeLessThanOrEqual(options.stealThreshold);
    }),
  );
});

test('a plan takes no more than what may move, gives nobody what it took, and asks only those that can do something of it (W3, W5)', () => {
  const agent = fc.record({
    movable: fc.nat({ max: 40 }),
    running: fc.nat({ max: 40 }),
    skills,
    needs: skills,
  });
  fc.assert(
    fc.property(
      fc.array(agent, { minLength: 2, maxLength: 12 }),
      fc.boolean(),
      rules,
      (crew, alike, options) => {
        const needsOf = (index: number): readonly string[] => (alike ? [] : (crew[index]?.needs ?? []));
        const loads = crew.map(({ movable, running, skills: capabilities }, i) => ({
          agentId: `${i}`,
          taskCount: movable + running,
          capabilities,
          waiting: [{ capabilities: needsOf(i), count: movable }],
        }));
        const steals = decideSteals(loads, options);
        for (const [i, { movable }] of crew.entries()) {
          const taken = steals.reduce((sum, { from, count }) => sum + (from === `${i}` ? count : 0), 0);
          expect(taken).toBeLessThanOrEqual(movable);
        }
        const givers = new Set(steals.map(({ from }) => from));
        for (const { from, to } of steals) {
          if (alike) expect(givers.has(to)).toBe(false);
          expect(needsOf(Number(from)).every((name) => crew[Number(to)]?.skills.includes(name as 'x'))).toBe(
            true,
          );
        }
      },
    ),
  );
});
