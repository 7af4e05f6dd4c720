/** Where a record remembers the definition that made it: a symbol, so that JSON doesn't see it; enumerable, so that a spread copy remembers too. */
export const DEFINITION: unique symbol = Symbol('agentmesh.definition');
