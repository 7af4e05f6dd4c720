import type { SchedulingStrategy } from '../strategy.ts';
import { AffinitySchedulingStrategy } from './affinity.ts';
import { CapabilitySchedulingStrategy } from './capability.ts';
import { LearningSchedulingStrategy } from './learning.ts';
import { LeastLoadedSchedulingStrategy } from './least-loaded.ts';
import { RoundRobinSchedulingStrategy } from './round-robin.ts';
import { WeightedHybridSchedulingStrategy } from './weighted-hybrid.ts';

/** One of each, with default options; the first is the default. @param historySize bound of what each remembers */
export function builtInStrategies(historySize?: number): readonly SchedulingStrategy[] {
  return [
    new CapabilitySchedulingStrategy(),
    new RoundRobinSchedulingStrategy(),
    new LeastLoadedSchedulingStrategy(),
    new AffinitySchedulingStrategy({ historySize }),
    new WeightedHybridSchedulingStrategy({ historySize }),
    new LearningSchedulingStrategy({ historySize }),
  ] as readonly SchedulingStrategy[];
}
