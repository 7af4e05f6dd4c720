import { type ChildProcess, fork } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { endWithUs } from '../support/servers/end-with-us.ts';
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts';
import { fakeClock } from './clock.ts';
import type { CrewCall, CrewWord, WorkerOrder } from './worker.ts';
import type { World } from './world.ts';

const WORKER = fileURLToPath(new URL('./worker.ts', import.meta.url));

export interface CrewOptions {
  readonly world: World;
  readonly port: number;
  readonly places: number;
  readonly folder: string;
  readonly leaseMs: number;
  readonly slots: number;
  readonly seed: string;
  readonly tasksOnly?: boolean;
  /** Whether the process at the first place has a clock that can be set. */
  readonly clock?: boolean;
}

/** A place in the crew: a process, started again when it ends, behind a proxy of its own. */
export class Place {
  readonly number: number;
  readonly proxy: FaultProxy;
  child: ChildProcess | undefined;
  /** `<place>.<boot>` of the process there. */
  p = '';
  state: 'starting' | 'working' | 'frozen' | 'dead' = 'starting';
  /** What is done to it at the moment, if anything. */
  isBusy = false;
  boots = 0;
  calm: PromiseWithResolvers<void> | undefined;
  startedAt = 0;

  constructor(number: number, proxy: FaultProxy) {
    this.number = number;
    this.proxy = proxy;
  }

  tell(call: CrewCall): void {
    if (this.child?.connected === true) this.child.send(call);
  }
}

/** Worker processes. */
export class Crew {
  readonly places: Place[] = [];
  /** Processes that ended although nobody killed them. */
  readonly collapses: string[] = [];
  /** Where the clock of the first place is set. */
  readonly clock: ReturnType<typeof fakeClock> | undefined;
  /** Heard of when a process kills itself. */
  onSuicide: ((place: Place, p: string) => void) | undefined;
  /** How long the processes took to start, ms. */
  readonly starts: number[] = [];
  readonly #options: CrewOptions;
  #isOver = false;
  #isCalm = false;

  private constructor(options: CrewOptions) {
    this.#options = options;
    this.clock = options.clock === true ? fakeClock(options.folder) : undefined;
  }

  static async start(options: CrewOptions): Promise<Crew> {
    mkdirSync(options.folder, { recursive: true });
    const crew = new Crew(options);
    for (let i = 0; i < options.places; i++) {
      crew.places.push(new Place(i, await startFaultProxy({ port: options.port })));
    }
    await Promise.all(crew.places.map((place) => crew.#launch(place)));
    return crew;
  }

  #launch(place: Place): Promise<void> {
    const { world, places, folder, leaseMs, slots, seed, tasksOnly } = this.#options;
    const url = new URL(world.url);
    url.port = String(place.proxy.port);
    place.boots += 1;
    const p = `${place.number}.${place.boots}`;
    const order: WorkerOrder = {
      ...{ world: { ...world, url: url.href }, place: place.number, places, p, folder, leaseMs, slots, seed },
      tasksOnly: tasksOnly === true,
    };
    const child = fork(WORKER, [JSON.stringify(order)], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      env: { ...process.env, ...this.#environment(place) },
    });
    endWithUs(child);
    Object.assign(place, { child, p, state: 'starting', startedAt: performance.now() });
    let complaints = '';
    child.stderr?.on('data', (data: Buffer) => {
      complaints = (complaints + data.toString('utf8')).slice(-2_000);
    });
    const ready = Promise.withResolvers<void>();
    child.on('message', (word: CrewWord) => {
      if (place.child !== child) return;
      if (word === 'calm') place.calm?.resolve();
      else {
        place.state = 'working';
        this.starts.push(performance.now() - place.startedAt);
        if (this.#isCalm) place.tell('calm');
        ready.resolve();
      }
    });
    child.once('exit', (code, signal) => {
      ready.resolve();
      if (this.#isOver) return;
      if (place.state !== 'dead') {
        // Nobody here did it: a handler may kill its own process, and nothing else.
        if (signal === 'SIGKILL') this.onSuicide?.(place, p);
        else this.collapses.push(`${p} ended with ${code ?? signal}: ${complaints}`);
      }
      void this.#launch(place);
    });
    return ready.promise;
  }

  #environment({ number }: Place): Record<string, string> {
    const cache = join(this.#options.folder, 'cache');
    return {
      NODE_COMPILE_CACHE: cache,
      ...(number === 0 && this.clock !== undefined ? this.clock.environment : {}),
    };
  }

  freeze(place: Place): void {
    place.state = 'frozen';
    place.child?.kill('SIGSTOP');
  }

  thaw(place: Place): void {
    place.child?.kill('SIGCONT');
    if (place.state === 'frozen') place.state = 'working';
  }

  kill(place: Place): void {
    place.state = 'dead';
    place.child?.kill('SIGKILL');
  }

  /** Whoever works begins nothing new; resolves with the processes that did not come to rest. */
  async calm(withinMs: number): Promise<string[]> {
    this.#isCalm = true;
    const late = new Set(this.places);
    const all = this.places.map(async (place) => {
      place.calm = Promise.withResolvers();
      place.tell('calm');
      await place.calm.promise;
      late.delete(place);
    });
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, withinMs);
    });
    await Promise.race([Promise.all(all), timeout]);
    clearTimeout(timer);
    return [...late].map(({ p }) => p);
  }

  go(): void {
    this.#isCalm = false;
    for (const place of this.places) place.tell('go');
  }

  /** Ends all of them, in good order or at once. */
  async stop(): Promise<void> {
    this.#isOver = true;
    await Promise.all(
      this.places.map(async ({ child, proxy }) => {
        if (child !== undefined && child.exitCode === null && child.signalCode === null) {
          const gone = new Promise((resolve) => child.once('exit', resolve));
          child.kill('SIGKILL');
          await gone;
        }
        await proxy.close();
      }),
    );
  }
}

export function writeHistory(folder: string, name: string, value: unknown): string {
  const file = join(folder, name);
  writeFileSync(file, JSON.stringify(value, undefined, 1));
  return file;
}
