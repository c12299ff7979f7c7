/** A vector as bars from zero: where each begins and ends, and several in one pixel as their extent. */

export interface Bars {
  /** Pixels of one bar; below 1 several values share a pixel. */
  readonly each: number;
  readonly lo: number;
  readonly hi: number;
  /** Smallest and largest value of each column of pixels, or of each value where there is room. */
  readonly low: Float32Array;
  readonly high: Float32Array;
  /** Columns in which something is not finite. */
  readonly bad: readonly number[];
}

/** The bars of a vector over `width` pixels; the range always holds zero. */
export function stripBars(values: ArrayLike<number>, width: number): Bars {
  const count = values.length;
  const columns = Math.max(1, Math.min(count, Math.floor(width)));
  const low = new Float32Array(columns);
  const high = new Float32Array(columns);
  const bad: number[] = [];
  let lo = 0;
  let hi = 0;
  for (let at = 0; at < columns; at++) {
    const from = Math.floor((at * count) / columns);
    const to = Math.max(from + 1, Math.floor(((at + 1) * count) / columns));
    let least = Number.POSITIVE_INFINITY;
    let most = Number.NEGATIVE_INFINITY;
    let sick = false;
    for (let place = from; place < to && place < count; place++) {
      const value = values[place] as number;
      if (!Number.isFinite(value)) sick = true;
      else {
        least = Math.min(least, value);
        most = Math.max(most, value);
      }
    }
    if (sick) bad.push(at);
    low[at] = least <= most ? least : 0;
    high[at] = least <= most ? most : 0;
    lo = Math.min(lo, low[at] as number);
    hi = Math.max(hi, high[at] as number);
  }
  return { each: width / columns, lo, hi: lo === hi ? 1 : hi, low, high, bad };
}

/** How many pixels from the top a value lies in a chart of `height`. */
export function barLevel(value: number, bars: Pick<Bars, "lo" | "hi">, height: number): number {
  return ((bars.hi - value) / (bars.hi - bars.lo)) * height;
}
