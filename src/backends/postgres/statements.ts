import type { DriverQuery } from './driver.ts';
import { VALUE_PARSERS } from './value-parsers.ts';

/** Where all texts of this backend say `agentmesh.`, the schema of the mesh is meant. */
const SCHEMA_NAME = /\bagentmesh\./g;

/** @param schema checked by the options: it is put into SQL text as it is */
export function inSchema(text: string, schema: string): string {
  return text.replace(SCHEMA_NAME, `${schema}.`);
}

/** Turns the texts of the ports into statements of one mesh: in its schema, prepared under a name that says what the text is. */
export class Statements {
  readonly schema: string;
  readonly #known = new Map<string, { readonly text: string; readonly name: string }>();
  #prepare: boolean;

  constructor(schema: string, prepare: boolean) {
    this.schema = schema;
    this.#prepare = prepare;
  }

  get prepares(): boolean {
    return this.#prepare;
  }

  /** From now on nothing is prepared: a pooler between hands each statement to another connection. */
  stopPreparing(): void {
    this.#prepare = false;
  }

  query(text: string, values: readonly unknown[]): DriverQuery {
    let known = this.#known.get(text);
    if (known === undefined) {
      const here = inSchema(text, this.schema);
      known = { text: here, name: `am_${digest(here)}` };
      this.#known.set(text, known);
    }
    return this.#prepare
      ? { name: known.name, text: known.text, values, types: VALUE_PARSERS }
      : { text: known.text, values, types: VALUE_PARSERS };
  }
}

/** A short name for a text. Two meshes may share one pool, so it must depend on the text alone; 64 bits are plenty for some hundred texts. */
function digest(text: string): string {
  let a = 0x811c9dc5;
  let b = 0x9747b28c;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    a = Math.imul(a ^ code, 0x01000193);
    b = Math.imul(b ^ code, 0x85ebca6b);
    b = (b << 13) | (b >>> 19);
  }
  return `${(a >>> 0).toString(36)}${(b >>> 0).toString(36)}`;
}
