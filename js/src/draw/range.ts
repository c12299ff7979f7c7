/** Which values the two ends of a colour map stand for. */

import type { Durable } from "../wire/types";

export type Scaling = Durable["scaling"];

export interface Range {
  readonly lo: number;
  readonly hi: number;
}

const finite = (value: number): boolean => Number.isFinite(value);

/** The smallest range that holds every tile; tiles without a finite value do not count. */
export function hull(lo: ArrayLike<number>, hi: ArrayLike<number>): Range {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (let tile = 0; tile < lo.length; tile++) {
    const from = lo[tile] as number;
    const to = hi[tile] as number;
    if (!finite(from) || !finite(to)) continue;
    if (from < low) low = from;
    if (to > high) high = to;
  }
  return low <= high ? { lo: low, hi: high } : { lo: 0, hi: 0 };
}

/** The same range opened until zero is its middle. */
export function symmetric(range: Range): Range {
  const reach = Math.max(Math.abs(range.lo), Math.abs(range.hi));
  return { lo: -reach, hi: reach };
}

/**
 * The range of one tile. A diverging map is always symmetric, because its middle colour means zero.
 */
export function tileRange(scaling: Scaling, layer: Range, own: Range, diverging: boolean): Range {
  const usable = finite(own.lo) && finite(own.hi);
  const base = scaling === "channel" && usable ? own : layer;
  return diverging || scaling === "symmetric" ? symmetric(base) : base;
}

/** Where a value lies in a range, 0 to 1; `flat` is the answer for a range without extent. */
export function position(value: number, range: Range, flat = 0): number {
  const extent = range.hi - range.lo;
  if (!(extent > 0)) return flat;
  return Math.min(1, Math.max(0, (value - range.lo) / extent));
}
