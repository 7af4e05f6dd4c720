import {
  checkArray,
  checkFunction,
  checkId,
  checkObject,
  checkRecord,
  invalid,
  unreadable,
} from '../core/check.ts';
import { checkOptions } from '../core/options.ts';
import { DEFINITION } from './definition-key.ts';
import { checkSchema, type StandardSchema, validate } from './standard-schema.ts';
import type {
  AnyTaskDefinition,
  DefinedContext,
  DefinedTask,
  TaskContext,
  TaskDefinition,
  TaskFields,
  TaskSpec,
} from './types.ts';

/**
 * Types a task and checks its payload at submit. The definition is a function from input to the record to submit, and carries the
 * handler for agents that do it (`registerAgent({ tasks: [resize] })`). Types come from the schema and the handler, or are given:
 * `defineTask<Input, Output>({ … })`.
 * @param options schema: any Standard Schema (zod, valibot, arktype); defaults: fields of every task of this type
 * @throws INVALID_ARGUMENT
 */
export function defineTask<I = unknown, O = unknown, G = I>(options: {
  readonly name: string;
  readonly schema?: StandardSchema<G, I> | StandardSchema<unknown, I>;
  readonly defaults?: TaskDefinition<I, O, G>['defaults'];
  readonly handler?: (context: DefinedContext<I>) => O | Promise<O>;
}): TaskDefinition<I, O, G> {
  const known = ['name', 'schema', 'defaults', 'handler'] as const;
  const {
    name,
    schema,
    defaults = {},
    handler,
  } = checkOptions('defineTask', options, known, 'a task definition');
  const type = checkId(name, 'the name of a task definition');
  if (handler !== undefined) checkFunction(handler, `handler of ${type}`);
  if (schema !== undefined) checkSchema(schema, `schema of ${type}`);
  checkObject(defaults, `defaults of ${type}`);
  const make = (input: G, more: TaskFields = {}): DefinedTask<G, O> => ({
    ...defaults,
    ...more,
    type,
    input,
    [DEFINITION]: definition,
  });
  const facts = {
    defaults,
    ...(schema === undefined ? {} : { schema }),
    ...(handler === undefined ? {} : { handler }),
  };
  const definition = Object.assign(make, facts) as unknown as TaskDefinition<I, O, G>;
  Object.defineProperty(definition, 'name', { value: type });
  return definition;
}

/** The spec as a part of a task, by the same definition. @throws INVALID_ARGUMENT */
export function asPart(spec: TaskSpec, parent: string): TaskSpec {
  return { ...checkRecord<TaskSpec>(spec, 'a task'), parent };
}

/** The spec with its input as the schema transformed it; `undefined` when there is nothing to check. @throws INVALID_ARGUMENT */
export function withCheckedInput(spec: TaskSpec): Promise<TaskSpec> | undefined {
  const definition = definitionOf(spec);
  if (definition?.schema === undefined) return undefined;
  // A copy that was given another type is another kind of task.
  if (spec.type !== definition.name) return undefined;
  return validate(definition.schema, spec.input, `The input of ${definition.name}`).then((input) => ({
    ...spec,
    input,
  }));
}

function definitionOf(spec: TaskSpec): AnyTaskDefinition | undefined {
  try {
    return (spec as Partial<DefinedTask<unknown, unknown>> | null | undefined)?.[DEFINITION];
  } catch (error) {
    throw unreadable('a task', error);
  }
}

/** One handler a type, from definitions. @throws INVALID_ARGUMENT for a definition without a handler */
export function handlersOf(
  definitions: readonly AnyTaskDefinition[],
): Readonly<Record<string, (context: TaskContext) => unknown>> {
  const given = checkArray(definitions, 'agent.tasks') as typeof definitions;
  // As entries: a type may have any name, `__proto__` too.
  return Object.fromEntries(given.map((definition) => handlerOf(definition)));
}

function handlerOf(definition: AnyTaskDefinition): readonly [string, (context: TaskContext) => unknown] {
  if (typeof definition !== 'function') checkObject(definition, 'a definition of agent.tasks');
  const { name, handler } = definition;
  checkId(name, 'the name of a task definition');
  if (handler === undefined) throw invalid(`Task definition ${name} has no handler for an agent to run`);
  return [name, handler as (context: TaskContext) => unknown];
}
