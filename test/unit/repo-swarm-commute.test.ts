import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { applyEdit } from '../../examples/repo-swarm/kinds/index.ts';
import { isInOrder } from '../../examples/repo-swarm/lint.ts';
import { mergeText } from '../../src/conflicts/text/merge-text.ts';
import { parseObject } from '../../examples/repo-swarm/json-text.ts';
import { makePlan, markAt, type EditTask } from '../../examples/repo-swarm/plan.ts';
import { shuffled } from '../../examples/repo-swarm/seeded.ts';
import type { SourceFile, Survey } from '../../examples/repo-swarm/workspace.ts';

/** Small repositories with everything that edits could stumble over. */
const NAMES = ['parseOrder', 'sendOrder', 'orderTotal', 'cartStore', 'emptyCart'];
const codeLine = fc.constantFrom(
  'export const cartTotal = orderTotal(parseOrder(1));',
  'function emptyCart() { return cartStore; } // TODO: emptyCart should not be renamed',
  '  // FIXME remove',
  '',
  'export type { CartLine } from "./cart-line.ts";',
  'const text = `\nimport { z } from "z";\nimport { a } from "a";\n`;',
  ...NAMES.map((name) => `export function ${name}(x: number) { return x; }`),
  ...NAMES.map((name) => `console.log(${name});`),
);
const importLine = fc.constantFrom(
  "import { parseOrder } from './zeta.ts';",
  "import { sendOrder,\n  orderTotal } from './alpha.ts';",
  "import './side-effect.ts';",
  '// a comment',
  "import type { Cart } from '../cart.ts'; // TODO one",
  "import type { Total } from '../total.ts'; // TODO another",
  "import { cartStore } from './alpha.ts';",
);
const code = fc
  .record({
    top: fc.constantFrom('', '#!/usr/bin/env node\n', '/* licence */\n', '// SPDX-License-Identifier: X\n'),
    imports: fc.array(importLine, { maxLength: 5 }),
    body: fc.array(codeLine, { minLength: 1, maxLength: 6 }),
  })
  .map(({ top, imports, body }) => `${top}${[...imports, ...body].join('\n')}`);
const markdown = fc
  .array(
    fc.constantFrom(
      '# Title',
      '## Install',
      '## Use',
      '### Use',
      'text with sendOrder',
      '```',
      '# not a title',
      '<!-- x -->',
      '',
    ),
    { minLength: 1, maxLength: 9 },
  )
  .map((lines) => lines.join('\n'));
const json = fc
  .uniqueArray(fc.constantFrom('name', 'version', 'x', 'zoo', 'list', 'nested'), { minLength: 1 })
  .map(
    (keys) =>
      `{\n${keys.map((key, i) => `  "${key}": ${['1', '"a, b"', '[1, 2]', '{\n    "z": 1,\n    "a": "}"\n  }'][i % 4]}`).join(',\n')}\n}`,
  );
const content = fc
  .tuple(
    fc.oneof(
      fc.tuple(fc.constant('ts'), code),
      fc.tuple(fc.constant('md'), markdown),
      fc.tuple(fc.constant('json'), json),
    ),
    fc.constantFrom('', '\n', '\n\n'),
    fc.constantFrom('lf', 'crlf', 'mixed'),
  )
  .map(([[extension, text], end, endings]): [string, string] => {
    const whole = text + end;
    if (endings === 'lf') return [extension, whole];
    return [
      extension,
      endings === 'crlf' || extension === 'json'
        ? whole.replaceAll('\n', '\r\n')
        : whole.replace('\n', '\r\n'),
    ];
  });
const repository = fc
  .array(content, { minLength: 16, maxLength: 18 })
  .map((files): Survey => {
    const named = files.flatMap(([extension, text], i): readonly SourceFile[] => {
      const path = `${['', 'src/', 'src/a b/'][i % 3]}file-${i}.${extension}`;
      return isInOrder(path, text) ? [{ path, text }] : [];
    });
    return { files: named, others: [], paths: named.map(({ path }) => path) };
  })
  .filter(({ files }) => files.length >= 12);

/** Does the tasks one after another, each reading its sources as they are by then. */
function applyAll(survey: Survey, tasks: readonly EditTask[]): Map<string, string> {
  return applyOn(new Map(survey.files.map(({ path, text }) => [path, text])), tasks);
}

function applyOn(before: ReadonlyMap<string, string>, tasks: readonly EditTask[]): Map<string, string> {
  const tree = new Map(before);
  for (const task of tasks) {
    for (const [i, path] of task.paths.entries()) {
      const source =
        task.source === undefined ? {} : { source: { path: task.source, text: tree.get(task.source) ?? '' } };
      const edit = { path, options: task.options, ...source };
      tree.set(path, applyEdit(task.kind, tree.get(path) ?? '', edit, markAt(task, i)));
    }
  }
  return new Map([...tree].sort(([a], [b]) => (a < b ? -1 : 1)));
}

describe('edits of the repository swarm', () => {
  test('commute: any order of any tasks ends in the same files', () => {
    fc.assert(
      fc.property(repository, fc.nat({ max: 1_000 }), fc.nat(), fc.nat(), (survey, seed, one, other) => {
        const { tasks } = makePlan(survey, seed);
        const some = shuffled(tasks, one, (task) => task.id).slice(0, 60);
        const again = shuffled(some, other, (task) => task.id);
        expect(applyAll(survey, again)).toEqual(applyAll(survey, some));
      }),
      { numRuns: 150 },
    );
  });

  test('are idempotent: the same task twice changes nothing more', () => {
    fc.assert(
      fc.property(repository, fc.nat({ max: 1_000 }), (survey, seed) => {
        const tasks = makePlan(survey, seed).tasks.slice(0, 60);
        expect(
          applyAll(
            survey,
            tasks.flatMap((task) => [task, task]),
          ),
        ).toEqual(applyAll(survey, tasks));
      }),
      { numRuns: 50 },
    );
  });

  test('may be merged: where a three-way merge of two of them is clean, it is what one after the other gives', () => {
    let merged = 0;
    let overlapping = 0;
    fc.assert(
      fc.property(repository, fc.nat({ max: 1_000 }), fc.nat(), (survey, seed, pick) => {
        const { tasks } = makePlan(survey, seed);
        const single = tasks.filter(({ paths }) => paths.length === 1);
        const before = shuffled(single, pick, ({ id }) => `before ${id}`).slice(0, 40);
        const tree = applyAll(survey, before);
        const path = single[pick % single.length]?.paths[0] ?? '';
        const base = tree.get(path) ?? '';
        const left = single.filter((task) => task.paths[0] === path && !before.includes(task));
        for (const [i, one] of left.entries()) {
          const others = left.toSpliced(i, 1).slice(0, 1 + (pick % 3));
          const [ours, theirs, both] = [[one], others, [one, ...others]].map(
            (done) => applyOn(tree, done).get(path) ?? '',
          ) as [string, string, string];
          const { text, conflicts } = mergeText(base, ours, theirs);
          if (conflicts.length > 0 || !isInOrder(path, text)) overlapping += 1;
          else {
            merged += 1;
            expect(text).toBe(both);
          }
        }
      }),
      { numRuns: 200 },
    );
    expect(merged).toBeGreaterThan(100);
    expect(overlapping).toBeGreaterThan(100);
  });

  test('the generated JSON is of the eligible kind, so the property above covers it', () => {
    fc.assert(
      fc.property(json, (text) => {
        expect(parseObject(text)?.members.length).toBe(Object.keys(JSON.parse(text) as object).length);
      }),
    );
  });
});
