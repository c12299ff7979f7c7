/** Codes and exact values into pixels; values that are not finite stay transparent, for a pattern underneath. */

import { NEGATIVE_INFINITY, specialCode, TOP } from "./codes";
import { type Colormap, ENTRIES, pack } from "./colormap";
import { position, type Range } from "./range";

function flat(map: Colormap): number {
  return map.diverging ? 0.5 : 0;
}

function entry(map: Colormap, at: number): number {
  return map.table[Math.round(at * (ENTRIES - 1))] as number;
}

/** One pixel per code for a tile of values `own`, shown over `range`. */
export function lookup(map: Colormap, own: Range, range: Range, out = new Uint32Array(256)): Uint32Array {
  const step = (own.hi - own.lo) / TOP;
  const extent = range.hi - range.lo;
  if (!(extent > 0)) {
    out.fill(entry(map, flat(map)), 0, TOP + 1);
  } else {
    const last = ENTRIES - 1;
    const scale = last / extent;
    for (let code = 0; code <= TOP; code++) {
      const at = Math.round((own.lo + code * step - range.lo) * scale);
      out[code] = map.table[Math.min(Math.max(at, 0), last)] as number;
    }
  }
  out.fill(0, NEGATIVE_INFINITY, 256);
  return out;
}

/** Paints one tile of codes at `offset` (in pixels) of a packed picture. */
export function paintCodes(pixels: Uint32Array, offset: number, codes: Uint8Array, colours: Uint32Array): void {
  for (let at = 0; at < codes.length; at++) pixels[offset + at] = colours[codes[at] as number] as number;
}

/**
 * Paints one tile whose codes are red, green, blue over one common range; a pixel with a code that is no number
 * stays transparent.
 */
export function paintRgb(pixels: Uint32Array, offset: number, codes: Uint8Array, own: Range, range: Range): void {
  const level = new Uint8Array(TOP + 1);
  for (let code = 0; code <= TOP; code++) {
    level[code] = Math.round(255 * position(own.lo + (code / TOP) * (own.hi - own.lo), range, 0.5));
  }
  for (let at = 0; at * 3 < codes.length; at++) {
    const red = codes[3 * at] as number;
    const green = codes[3 * at + 1] as number;
    const blue = codes[3 * at + 2] as number;
    const whole = red <= TOP && green <= TOP && blue <= TOP;
    pixels[offset + at] = whole ? pack(level[red] as number, level[green] as number, level[blue] as number) : 0;
  }
}

/** Paints exact values over `range`. */
export function paintValues(pixels: Uint32Array, values: ArrayLike<number>, map: Colormap, range: Range): void {
  const middle = flat(map);
  for (let at = 0; at < values.length; at++) {
    const value = values[at] as number;
    pixels[at] = Number.isFinite(value) ? entry(map, position(value, range, middle)) : 0;
  }
}

/** Neighbouring pixels of one row that are not finite in the same way. */
export interface Run {
  readonly code: number;
  readonly row: number;
  readonly from: number;
  readonly to: number;
}

/** The runs of codes above 252 of a tile; with `depth` 3 a pixel counts with its highest code. */
export function specialRuns(codes: Uint8Array, columns: number, depth: 1 | 3 = 1): Run[] {
  const runs: Run[] = [];
  const rows = columns > 0 ? Math.floor(codes.length / (columns * depth)) : 0;
  for (let row = 0; row < rows; row++) {
    let from = 0;
    let current = -1;
    for (let column = 0; column <= columns; column++) {
      let code = -1;
      if (column < columns) {
        const at = (row * columns + column) * depth;
        const top =
          depth === 1
            ? (codes[at] as number)
            : Math.max(codes[at] as number, codes[at + 1] as number, codes[at + 2] as number);
        code = top > TOP ? top : -1;
      }
      if (code === current) continue;
      if (current >= 0) runs.push({ code: current, row, from, to: column });
      from = column;
      current = code;
    }
  }
  return runs;
}

/** As `specialRuns`, for exact values. */
export function specialValueRuns(values: ArrayLike<number>, columns: number): Run[] {
  const codes = Uint8Array.from(values, (value) => Math.max(0, specialCode(value)));
  return specialRuns(codes, columns);
}
