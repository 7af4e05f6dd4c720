import { describe, expect, test } from 'vitest';
import { applyEdit, KINDS, kindOf } from '../../examples/repo-swarm/kinds/index.ts';
import { parseObject } from '../../examples/repo-swarm/json-text.ts';
import { addMark, marksOf } from '../../examples/repo-swarm/marks.ts';

const apply = (kind: string, path: string, text: string, options: Record<string, string> = {}): string =>
  kindOf(kind).apply(text, { path, options });
const header = { line: 'SPDX-License-Identifier: MIT' };

describe('edit kinds of the repository swarm', () => {
  test('are the eight that the demo names', () => {
    expect([...KINDS.keys()].sort()).toEqual([
      'folder-index',
      'import-order',
      'json-key-order',
      'licence-header',
      'line-endings',
      'symbol-rename',
      'table-of-contents',
      'todo-index',
    ]);
    expect(() => kindOf('toString')).toThrow('no edit kind');
  });

  test('licence-header: goes to the top, below a shebang, sorted, once', () => {
    expect(apply('licence-header', 'a.ts', 'x;\n', header)).toBe('// SPDX-License-Identifier: MIT\nx;\n');
    const script = '#!/bin/sh\n# SPDX-FileType: SOURCE\necho\n';
    const both = '#!/bin/sh\n# SPDX-FileType: SOURCE\n# SPDX-License-Identifier: MIT\necho\n';
    expect(apply('licence-header', 'a.sh', script, header)).toBe(both);
    expect(apply('licence-header', 'a.sh', both, header)).toBe(both);
    expect(apply('licence-header', 'a.md', '# A\r\n', header)).toBe(
      '<!-- SPDX-License-Identifier: MIT -->\r\n# A\r\n',
    );
  });

  test('import-order: sorts neighbours by specifier, whole statements, and stops at other code', () => {
    const text = [
      "import { z } from './z.ts';",
      'import {\n  b,\n  a,\n} from "./a.ts";',
      "import './effect.ts';",
      "import { y } from './y.ts';",
      "import { c } from './c.ts'; // why",
      'const text = `',
      "import { k } from 'k';",
      "import { b } from 'b';",
      '`;\n',
    ].join('\n');
    expect(apply('import-order', 'x.ts', text).split('\n')).toEqual([
      'import {',
      '  b,',
      '  a,',
      '} from "./a.ts";',
      "import { z } from './z.ts';",
      "import './effect.ts';",
      "import { c } from './c.ts'; // why",
      "import { y } from './y.ts';",
      'const text = `',
      "import { k } from 'k';",
      "import { b } from 'b';",
      '`;',
      '',
    ]);
  });

  test('import-order: leaves a broken import and what follows alone', () => {
    const text = "import { a\nconst b = 'c';\nimport z from 'z';\nimport d from 'd';\n";
    expect(apply('import-order', 'x.ts', text)).toBe(text);
  });

  test('json-key-order: sorts top-level keys and keeps the inside of each as it was written', () => {
    const text = '{\n  "b": [1, 2],\n  "a": {\n    "z": "}, {",\n    "y": 1\n  }\n}';
    expect(apply('json-key-order', 'x.json', text)).toBe(
      '{\n  "a": {\n    "z": "}, {",\n    "y": 1\n  },\n  "b": [1, 2]\n}',
    );
  });

  test('JSON that could not be written back unchanged is no object for it', () => {
    for (const text of [
      '[1]',
      '{}',
      '{"a":1}',
      '{\n  "a": 1, "b": 2\n}',
      '{\n  "a": 1,\n  "a": 2\n}',
      '{\n  "a": 01\n}',
      '{\n  // x\n  "a": 1\n}',
    ]) {
      expect(parseObject(text), text).toBeUndefined();
    }
    expect(parseObject('{\r\n\t"a\\"b": 1\r\n}\r\n')?.members).toEqual([{ key: 'a"b', raw: '"a\\"b": 1' }]);
  });

  test('line-endings: LF everywhere and at the end', () => {
    expect(apply('line-endings', 'x.ts', 'a\r\nb\nc')).toBe('a\nb\nc\n');
  });

  test('todo-index: one section a file, sorted, without line numbers; a second look replaces the first', () => {
    const of = (text: string, path: string, source: string): string =>
      kindOf('todo-index').apply(text, { path: 'TODO.md', options: {}, source: { path, text: source } });
    const once = of(of('', 'src/b.ts', '// TODO b */\n/* FIXME a */\n'), 'src/a.ts', 'nothing\n');
    expect(once).toBe(
      '# TODO index\n\n## src/a.ts\n\n- nothing left to do\n\n## src/b.ts\n\n- FIXME a\n- TODO b\n\n',
    );
    expect(of(once, 'src/b.ts', 'done\n')).toContain('## src/b.ts\n\n- nothing left to do\n');
  });

  test('folder-index: one line a file, whatever its name', () => {
    const of = (text: string, path: string, source: string): string =>
      kindOf('folder-index').apply(text, {
        path: 'src/FILES.md',
        options: {},
        source: { path, text: source },
      });
    const text = of(
      of('', 'src/two words.ts', 'export const a = 1;\nexport const b = 2;\n'),
      'src/[ü].md',
      '# Title  \n',
    );
    expect(text).toBe(
      '# Files of `src`\n\n- [\\[ü\\].md](<./[ü].md>) · Markdown · Title\n- [two words.ts](<./two words.ts>) · TypeScript · 2 exports\n\n',
    );
    expect(of(text, 'src/two words.ts', 'export const a = 1;\n')).toContain('· 1 export\n');
  });

  test('table-of-contents: below the title, headings in fences left out, doubles numbered, replaced when repeated', () => {
    const text = '# Title\n\n## Use it\n```sh\n## no\n```\n### More\n## Use it\n#### deep\n';
    const wanted =
      '# Title\n\n<!-- swarm:toc -->\n- [Use it](#use-it)\n  - [More](#more)\n- [Use it](#use-it-1)\n<!-- /swarm:toc -->\n';
    const once = apply('table-of-contents', 'a.md', text);
    expect(once).toBe(wanted + text.slice('# Title\n'.length));
    expect(apply('table-of-contents', 'a.md', once)).toBe(once);
  });

  test('symbol-rename: whole identifiers only', () => {
    expect(
      apply('symbol-rename', 'a.ts', 'run(runAll, $run, run$, a.run);\n', { from: 'run', to: 'go' }),
    ).toBe('go(runAll, $run, run$, a.go);\n');
    expect(() => apply('symbol-rename', 'a.ts', 'x', { from: 'a.*', to: 'b' })).toThrow('identifier');
  });

  test('every edit leaves its mark, sorted, once, in the language of the file', () => {
    const edit = { path: 'a.ts', options: {} };
    const text = ['b1b1-t002.1', 'a0a0-t009.1', 'b1b1-t002.1'].reduce(
      (all, mark) => applyEdit('line-endings', all, edit, mark),
      'x;',
    );
    expect(text).toBe('x;\n// swarm:mark a0a0-t009.1\n// swarm:mark b1b1-t002.1\n');
    expect(marksOf('a.ts', text)).toEqual(['a0a0-t009.1', 'b1b1-t002.1']);
    const json = addMark('a.json', addMark('a.json', '{\n  "z": 1\n}\n', 'b1b1-t002.1'), 'a0a0-t009.1');
    expect(json).toBe('{\n  "z": 1,\n  "x-swarm-marks": [\n    "a0a0-t009.1",\n    "b1b1-t002.1"\n  ]\n}\n');
    expect(marksOf('a.json', json)).toEqual(['a0a0-t009.1', 'b1b1-t002.1']);
  });
});
