/**
 * Settings of the functions that are called from outside, and so of all that they call: the plans that were meant, whatever the statistics
 * of a table say that was empty a moment ago. Without `jit = off` the price of what is switched off makes the server compile every plan.
 *
 * For the same reason joins say `t.seq = any(array[u.seq])`: where `t.seq = u.seq` stands, a planner that takes `tasks` for empty reads all of
 * its index for each batch and looks into the batch for each row (150 µs a task instead of 11, from one automatic ANALYZE to the next).
 * `offset 0` keeps a look-up in its place likewise where an index alone would answer it, and `order by t.seq + 0` sorts what was found by a list
 * instead of reading everything in that order.
 */
export const PINNED: string = `set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_bitmapscan = off set plan_cache_mode = force_generic_plan`;
