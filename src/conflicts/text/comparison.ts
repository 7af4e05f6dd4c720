/** A part of both texts that is still to be compared. */
export interface Box {
  readonly oldStart: number;
  readonly oldEnd: number;
  readonly newStart: number;
  readonly newEnd: number;
}

/** Both texts with a number for each distinct line, and for each old line its partner in the new text, or −1. */
export interface Comparison {
  readonly old: Int32Array;
  readonly new: Int32Array;
  readonly partner: Int32Array;
}
