/** The quantised values of a tile: codes 0..252 are values, the last three are not numbers. */

import type { MapsResult } from "../wire/types";

export const TOP = 252;
export const NEGATIVE_INFINITY = 253;
export const POSITIVE_INFINITY = 254;
export const NOT_A_NUMBER = 255;

/** The value that a code stands for in a tile whose finite values reach from `lo` to `hi`. */
export function dequantise(code: number, lo: number, hi: number): number {
  if (code === NEGATIVE_INFINITY) return Number.NEGATIVE_INFINITY;
  if (code === POSITIVE_INFINITY) return Number.POSITIVE_INFINITY;
  if (code === NOT_A_NUMBER) return Number.NaN;
  return lo + (code / TOP) * (hi - lo);
}

/** How a value that is not finite is coded, or -1 for a number. */
export function specialCode(value: number): number {
  if (Number.isFinite(value)) return -1;
  if (Number.isNaN(value)) return NOT_A_NUMBER;
  return value > 0 ? POSITIVE_INFINITY : NEGATIVE_INFINITY;
}

/** Quantised tiles as they came over the wire. */
export interface TileSource {
  readonly codes: Uint8Array;
  readonly lo: Float32Array;
  readonly hi: Float32Array;
  readonly rows: number;
  readonly columns: number;
  /** 3 for pictures whose codes are red, green and blue, else 1. */
  readonly depth: 1 | 3;
}

export function tileCodes(source: TileSource, tile: number): Uint8Array {
  const size = source.rows * source.columns * source.depth;
  return source.codes.subarray(tile * size, (tile + 1) * size);
}

/** The codes of a result as something to paint. */
export function tileSource(maps: MapsResult): TileSource {
  const [, rows = 1, columns = 1] = maps.codes.shape;
  return { codes: maps.codes.data, lo: maps.lo.data, hi: maps.hi.data, rows, columns, depth: 1 };
}
