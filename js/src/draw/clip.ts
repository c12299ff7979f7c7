/** The range of a layer when a few values are far larger than all others: those are clipped, and that is said. */

import { type TileSource, TOP } from "./codes";
import { hull, type Range, type Scaling } from "./range";

/** At most this part of the values may lie beyond the ends. */
export const CLIPPED = 0.001;
/** Clipping must at least triple the contrast of the rest, or nothing is clipped. */
const GAIN = 3;
const BINS = 2048;

export interface LayerRange {
  readonly range: Range;
  /** The fraction of the finite values that lies beyond the ends. */
  readonly clipped: number;
}

/** How many finite values have which magnitude, in bins from 0 to `reach`. */
function magnitudes(source: TileSource, reach: number): { bins: Uint32Array; count: number } {
  const bins = new Uint32Array(BINS);
  const size = source.rows * source.columns * source.depth;
  const where = new Uint16Array(TOP + 1);
  let count = 0;
  for (let tile = 0; tile < source.lo.length; tile++) {
    const lo = source.lo[tile] as number;
    const step = ((source.hi[tile] as number) - lo) / TOP;
    for (let code = 0; code <= TOP; code++) {
      where[code] = Math.min(BINS - 1, Math.floor((Math.abs(lo + code * step) / reach) * BINS));
    }
    for (let at = tile * size; at < (tile + 1) * size; at++) {
      const code = source.codes[at] as number;
      if (code > TOP) continue;
      const bin = where[code] as number;
      bins[bin] = (bins[bin] as number) + 1;
      count++;
    }
  }
  return { bins, count };
}

/** The range that holds all values but the largest thousandth, where that makes the rest much clearer. */
export function robustRange(source: TileSource): LayerRange {
  const whole = hull(source.lo, source.hi);
  const reach = Math.max(Math.abs(whole.lo), Math.abs(whole.hi));
  if (!(reach > 0)) return { range: whole, clipped: 0 };
  const { bins, count } = magnitudes(source, reach);
  let beyond = 0;
  let bin = BINS;
  while (bin > 0 && beyond + (bins[bin - 1] as number) <= count * CLIPPED) {
    bin--;
    beyond += bins[bin] as number;
  }
  const end = (bin / BINS) * reach;
  if (beyond === 0 || !(end > 0) || end * GAIN > reach) return { range: whole, clipped: 0 };
  return { range: { lo: Math.max(whole.lo, -end), hi: Math.min(whole.hi, end) }, clipped: beyond / count };
}

const known = new WeakMap<Uint8Array, LayerRange>();

/** The range of a layer as its scaling wants it: "symmetric" always holds every value. */
export function layerRange(source: TileSource, scaling: Scaling): LayerRange {
  if (scaling === "symmetric") return { range: hull(source.lo, source.hi), clipped: 0 };
  const found = known.get(source.codes) ?? robustRange(source);
  known.set(source.codes, found);
  return found;
}
