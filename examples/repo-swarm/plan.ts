import { findDrafts, type Draft } from './drafts.ts';
import { languageOf } from './languages.ts';
import { byCodeUnit } from './lines.ts';
import { CoordinationError } from './mesh.ts';
import { digest, shuffled } from './seeded.ts';
import type { Survey } from './workspace.ts';

/** One unit of work for the squad. */
export interface EditTask extends Draft {
  readonly id: string;
  /** `lock`: holds its files while it works. `optimistic`: works without, and looks before it writes whether anybody else has written. */
  readonly mode: 'lock' | 'optimistic';
  /** What it leaves in its files: the one in `paths[i]` is `<mark>.<i + 1>`, so each (task, path) has a mark of its own. */
  readonly mark: string;
}

/** Everything that a run does, decided beforehand. The clone's first commit holds it. */
export interface Plan {
  readonly version: 1;
  readonly seed: number;
  /** The dozen files that most tasks want. */
  readonly hotPaths: readonly string[];
  /** Pairs of tasks that come to the same two files in opposite order. */
  readonly crossed: readonly (readonly [string, string])[];
  readonly tasks: readonly EditTask[];
}

const MIN_FILES = 12;
const HOT_PATHS = 12;
const HOT_RATIO = 0.6;
const OPTIMISTIC_RATIO = 0.4;
const MAX_INDEXES = 4;
const CROSSED_PAIRS = 3;

/**
 * Decides which edits are done on which files. The same repository and seed give the same plan.
 * @throws INVALID_ARGUMENT with fewer than 12 files that can be edited
 */
export function makePlan(survey: Survey, seed: number, size = 240): Plan {
  if (survey.files.length < MIN_FILES) {
    throw new CoordinationError(
      'INVALID_ARGUMENT',
      `The repository has ${survey.files.length} files that can be edited, and the squad needs ${MIN_FILES}`,
      {
        hint: 'Eligible are tracked UTF-8 text files up to 128 KiB: TypeScript, JavaScript, Markdown, JSON, YAML, TOML, shell.',
      },
    );
  }
  const drafts = shuffled(findDrafts(survey), seed, labelOf);
  const hotPaths = chooseHotPaths(drafts, survey, seed);
  const crossed = crossDrafts(hotPaths, survey, drafts);
  const hot = drawHot(drafts, hotPaths, Math.ceil(size * HOT_RATIO) - crossed.length);
  const cold = drawCold(drafts, new Set(hotPaths), size - hot.length - crossed.length);
  const missing = size - crossed.length - hot.length - cold.length;
  const again = Array.from({ length: missing }, (_, i) => hot[i % hot.length] as Draft);
  const order = shuffled([...hot, ...cold, ...again], seed, (draft, index) => `${labelOf(draft)}\0${index}`);
  return {
    version: 1,
    seed,
    hotPaths,
    crossed: pairIds(crossed.length),
    tasks: withModes([...crossed, ...order], crossed.length, seed),
  };
}

/** The mark a task leaves in `paths[index]`. */
export function markAt(task: EditTask, index: number): string {
  return `${task.mark}.${index + 1}`;
}

function labelOf(draft: Draft): string {
  return [draft.kind, ...draft.paths, draft.source ?? '', ...Object.values(draft.options)].join('\0');
}

/** The paths that offer most work: up to four shared indexes, else real files. */
function chooseHotPaths(drafts: readonly Draft[], survey: Survey, seed: number): readonly string[] {
  const counts = new Map<string, number>();
  for (const path of drafts.flatMap((draft) => draft.paths)) counts.set(path, (counts.get(path) ?? 0) + 1);
  const own = new Set(survey.files.map(({ path }) => path));
  const ranked = shuffled([...counts], seed, ([path]) => path).sort(([, a], [, b]) => b - a);
  const indexes = ranked.filter(([path, count]) => !own.has(path) && count >= 8).slice(0, MAX_INDEXES);
  const files = ranked.filter(([path]) => own.has(path)).slice(0, HOT_PATHS - indexes.length);
  return [...indexes, ...files].map(([path]) => path);
}

/** Pairs over two hot files each, one forwards and one backwards: started together, each soon holds what the other needs. */
function crossDrafts(
  hotPaths: readonly string[],
  survey: Survey,
  drafts: readonly Draft[],
): readonly Draft[] {
  const own = new Set(survey.files.map(({ path }) => path));
  const files = hotPaths
    .filter((path) => own.has(path))
    .sort((a, b) => Number(isJson(a)) - Number(isJson(b)) || byCodeUnit(a, b));
  const pairs = Array.from({ length: CROSSED_PAIRS }, (_, i) => files.slice(2 * i, 2 * i + 2));
  return pairs.flatMap(([a = '', b = '']) => {
    const shared = drafts.find(
      (draft) => draft.kind === 'licence-header' && draft.paths[0] === a && hasDraft(drafts, draft, b),
    );
    const { kind, options } = shared ?? { kind: 'line-endings', options: {} };
    return [
      { kind, options, paths: [a, b] },
      { kind: 'line-endings', options: {}, paths: [b, a] },
    ];
  });
}

function isJson(path: string): boolean {
  return languageOf(path)?.family === 'json';
}

function hasDraft(drafts: readonly Draft[], like: Draft, path: string): boolean {
  return drafts.some(
    ({ kind, paths, options }) =>
      kind === like.kind && paths[0] === path && options['line'] === like.options['line'],
  );
}

/** About the same number for each hot path. A path that offers too few gets some of them twice: every edit may be repeated. */
function drawHot(drafts: readonly Draft[], hotPaths: readonly string[], wanted: number): readonly Draft[] {
  const chosen = new Set<Draft>();
  const repeated: Draft[] = [];
  for (const [i, path] of hotPaths.entries()) {
    const quota =
      Math.floor((wanted * (i + 1)) / hotPaths.length) - Math.floor((wanted * i) / hotPaths.length);
    const all = drafts.filter((draft) => draft.paths.includes(path));
    const fresh = roundRobin(all.filter((draft) => !chosen.has(draft))).slice(0, quota);
    for (const draft of fresh) chosen.add(draft);
    for (let n = fresh.length; n < quota; n++) repeated.push(all[n % all.length] as Draft);
  }
  return [...chosen, ...repeated];
}

function drawCold(drafts: readonly Draft[], hot: ReadonlySet<string>, wanted: number): readonly Draft[] {
  return roundRobin(drafts.filter((draft) => !draft.paths.some((path) => hot.has(path)))).slice(0, wanted);
}

/** One of each kind, then the next of each kind, so that no kind is drowned by a more frequent one. */
function roundRobin(drafts: readonly Draft[]): readonly Draft[] {
  const kinds = Map.groupBy(drafts, ({ kind }) => kind);
  const rounds = Math.max(0, ...[...kinds.values()].map((list) => list.length));
  return Array.from({ length: rounds }, (_, i) =>
    [...kinds.values()].flatMap((list) => list.slice(i, i + 1)),
  ).flat();
}

function pairIds(tasks: number): readonly (readonly [string, string])[] {
  return Array.from({ length: tasks / 2 }, (_, i) => [idOf(2 * i), idOf(2 * i + 1)] as const);
}

function idOf(index: number): string {
  return `t${String(index + 1).padStart(3, '0')}`;
}

/** Names the tasks and lets part of those that touch a single file work without holding it. */
function withModes(drafts: readonly Draft[], crossed: number, seed: number): readonly EditTask[] {
  const single = drafts.flatMap((draft, index) =>
    draft.paths.length === 1 && index >= crossed ? [index] : [],
  );
  const optimistic = new Set(
    shuffled(single, seed, (index) => `mode ${index}`).slice(0, Math.ceil(drafts.length * OPTIMISTIC_RATIO)),
  );
  return drafts.map(({ kind, paths, source, options }, index) => ({
    id: idOf(index),
    kind,
    mode: optimistic.has(index) ? 'optimistic' : 'lock',
    mark: `${digest(seed, 'mark', index).slice(0, 4)}-${idOf(index)}`,
    paths,
    ...(source === undefined ? {} : { source }),
    options,
  }));
}
