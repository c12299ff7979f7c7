/** The bins of a distribution: their edges, what lies in a run of them, and where they are on the screen. */
import type { ArrayView, DistributionResult } from "../wire/types";

type Bins = Pick<DistributionResult, "lo" | "hi" | "bins">;

/** Bins `from` to `to`, both included. */
export interface Brush {
  readonly from: number;
  readonly to: number;
}

/** The left edge of a bin, or of what follows the last. */
export function edge(bins: Bins, at: number): number {
  return at >= bins.bins ? bins.hi : bins.lo + ((bins.hi - bins.lo) / bins.bins) * at;
}

/** A brush that lies in the bins there are; null where it holds all of them, which chooses nothing. */
export function fitted(brush: Brush | null, bins: number): Brush | null {
  if (brush === null) return null;
  const from = Math.max(0, Math.min(bins - 1, Math.min(brush.from, brush.to)));
  const to = Math.max(0, Math.min(bins - 1, Math.max(brush.from, brush.to)));
  return from === 0 && to === bins - 1 ? null : { from, to };
}

/** How many values lie in the brushed bins, and in all. */
export function within(counts: ArrayLike<number>, brush: Brush | null): { inside: number; total: number } {
  let inside = 0;
  let total = 0;
  for (let at = 0; at < counts.length; at++) {
    const count = counts[at] as number;
    total += count;
    if (brush === null || (at >= brush.from && at <= brush.to)) inside += count;
  }
  return { inside, total };
}

/** The channels with at least one value in the brushed bins, or null where nothing is brushed or known. */
export function channelsIn(
  shares: ArrayView<Uint8Array> | null | undefined,
  brush: Brush | null,
): ReadonlySet<number> | null {
  if (!shares || brush === null) return null;
  const [channels = 0, bins = 0] = shares.shape;
  const found = new Set<number>();
  for (let channel = 0; channel < channels; channel++) {
    for (let at = brush.from; at <= brush.to; at++) {
      if (shares.data[channel * bins + at]) {
        found.add(channel);
        break;
      }
    }
  }
  return found;
}

/** The bin under a position along the axis; outside, the nearest. */
export function binAt(position: number, length: number, bins: number): number {
  return Math.max(0, Math.min(bins - 1, Math.floor((position / Math.max(1, length)) * bins)));
}

/** The narrowest run of bins from a twentieth to nineteen twentieths of what is counted: at least nine in ten lie there. */
export function mostOf(counts: ArrayLike<number>): Brush {
  const { total } = within(counts, null);
  let seen = 0;
  let from = -1;
  for (let at = 0; at < counts.length; at++) {
    seen += counts[at] as number;
    if (from < 0 && seen > 0.05 * total) from = at;
    if (seen >= 0.95 * total && from >= 0) return { from, to: at };
  }
  return { from: 0, to: counts.length - 1 };
}
