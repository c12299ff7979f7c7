/** Bars of a prediction: where they start and end. */

import type { PredictionRow } from "../wire/types";
import type { Range } from "./range";

/** The range of all numbers and zero, so that every bar starts at zero and none is cut. */
export function predictionRange(rows: readonly Pick<PredictionRow, "before" | "after">[]): Range {
  let lo = 0;
  let hi = 0;
  for (const { before, after } of rows) {
    for (const value of [before, after]) {
      if (!Number.isFinite(value)) continue;
      lo = Math.min(lo, value);
      hi = Math.max(hi, value);
    }
  }
  return lo === hi ? { lo: 0, hi: 1 } : { lo, hi };
}

export const MOST_ROWS = 5;

/** The rows to show: the highest before or after and the target, in the order they came. */
export function chosenRows<Row extends Pick<PredictionRow, "index" | "before" | "after">>(
  rows: readonly Row[],
  target: number | null,
): Row[] {
  const height = (row: Row): number => {
    if (row.index === target) return Number.POSITIVE_INFINITY;
    const highest = Math.max(row.before, row.after);
    return Number.isNaN(highest) ? Number.NEGATIVE_INFINITY : highest;
  };
  const kept = new Set([...rows].sort((one, other) => height(other) - height(one) || 0).slice(0, MOST_ROWS));
  return rows.filter((row) => kept.has(row));
}

/** The part of a bar's width that a value takes, from zero; null for what has no length. */
export function barSpan(value: number, range: Range): { from: number; to: number } | null {
  const extent = range.hi - range.lo;
  if (!Number.isFinite(value) || !(extent > 0)) return null;
  const place = (at: number) => Math.min(1, Math.max(0, (at - range.lo) / extent));
  const zero = place(0);
  const end = place(value);
  return { from: Math.min(zero, end), to: Math.max(zero, end) };
}
