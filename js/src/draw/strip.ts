/** Norms of layers over the steps as a picture: one row a layer, one column a stretch of steps, logarithmic. */
import type { Range } from "./range";

export interface StripData {
  readonly first: ArrayLike<number>;
  readonly last: ArrayLike<number>;
  /** (rows, columns); negative where there is none. */
  readonly values: ArrayLike<number>;
  readonly rows: number;
}

/** The smallest and largest logarithm of what can be drawn; null where nothing can. */
export function logRange(values: ArrayLike<number>): Range | null {
  let lo = Number.POSITIVE_INFINITY;
  let hi = Number.NEGATIVE_INFINITY;
  for (let at = 0; at < values.length; at++) {
    const value = values[at] as number;
    if (!(value > 0 && value < Number.POSITIVE_INFINITY)) continue;
    if (value < lo) lo = value;
    if (value > hi) hi = value;
  }
  return lo <= hi ? { lo: Math.log10(lo), hi: Math.log10(hi) } : null;
}

/** Which of the columns holds at a step: the last that began; -1 before the first. */
export function columnAt(data: StripData, step: number): number {
  let low = 0;
  let high = data.first.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((data.first[middle] as number) <= step) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** The value of a row in a column: NaN if it is one, null where there is none. */
export function normAt(data: StripData, row: number, column: number): number | null {
  if (column < 0) return null;
  const value = data.values[row * data.first.length + column] as number;
  return value < 0 ? null : value;
}

/**
 * The logarithms of a plane of `rows` × `columns` pixels from step `from` to `to`: in each pixel the largest norm of the
 * stretches it covers, where a stretch lasts until the next one begins. `blank` says where there is none.
 */
export function stripPlane(
  data: StripData,
  from: number,
  to: number,
  columns: number,
): { values: Float32Array; blank: Uint8Array } {
  const values = new Float32Array(data.rows * columns);
  const blank = new Uint8Array(data.rows * columns);
  const many = data.first.length;
  for (let x = 0; x < columns; x++) {
    const begin = columnAt(data, from + ((to - from) * x) / columns);
    const end = columnAt(data, from + ((to - from) * (x + 1)) / columns);
    for (let row = 0; row < data.rows; row++) {
      let most = -1;
      for (let at = Math.max(0, begin); at <= end; at++) {
        const value = data.values[row * many + at] as number;
        if (value > most || Number.isNaN(value)) most = value;
        if (Number.isNaN(most)) break;
      }
      const place = row * columns + x;
      if (most < 0) blank[place] = 1;
      values[place] = most < 0 ? 0 : Math.log10(most);
    }
  }
  return { values, blank };
}
