/** The picture of a part of a matrix: which row and block lie where, and the norms beside it. */

import type { Place } from "./axes";
import type { TileSource } from "./codes";
import { patchBox, type Sight, type Window } from "./sight";

/** The picture of a window, as it came. */
export interface Patch {
  source: TileSource;
  window: Window;
  pool: readonly [number, number];
  rowNorms: Float32Array;
  columnNorms: Float32Array;
}

/** The number of the row at a place of the picture; null where the picture does not say it. */
export function rowAt(order: ArrayLike<number> | null, window: Window, place: number): number | null {
  if (order === null) return place;
  const row = order[place - window[0]];
  return row === undefined ? null : row;
}

/** The first place of the block that a pixel averages. */
export function snapped(patch: Patch, place: Place): Place {
  const first = (from: number, size: number, at: number) => from + Math.floor((at - from) / size) * size;
  return {
    row: Math.max(0, first(patch.window[0], patch.pool[0], place.row)),
    column: Math.max(0, first(patch.window[2], patch.pool[1], place.column)),
  };
}

/** The place of a row in the picture; -1 where it is not in it. */
export function rankOf(order: ArrayLike<number>, window: Window, row: number): number {
  if (row < 0) return -1;
  for (let at = 0; at < order.length; at++) if (order[at] === row) return window[0] + at;
  return -1;
}

/** Draws norms as bars that grow away from the picture. */
export function marginBars(
  context: CanvasRenderingContext2D,
  norms: Float32Array,
  patch: { window: Window; pool: readonly [number, number]; rows: number; columns: number },
  sight: Sight,
  along: "row" | "column",
): void {
  const { width, height } = context.canvas;
  let most = 0;
  for (const norm of norms) if (Number.isFinite(norm)) most = Math.max(most, norm);
  const box = patchBox(patch, sight, width, height);
  const style = getComputedStyle(context.canvas);
  const count = norms.length;
  const each = (along === "row" ? box.height : box.width) / count;
  const start = along === "row" ? box.y : box.x;
  norms.forEach((norm, at) => {
    const finite = Number.isFinite(norm);
    // What is not finite reaches to the end, in the colour of errors.
    context.fillStyle = finite ? style.color : style.outlineColor;
    const part = finite ? (most > 0 ? norm / most : 0) : 1;
    // Whole pixels, or neighbours would shine through each other.
    const from = Math.round(start + at * each);
    const size = Math.max(1, Math.round(start + (at + 1) * each) - from - (each > 4 ? 1 : 0));
    if (along === "row") context.fillRect(0, from, part * width, size);
    else context.fillRect(from, height - part * height, size, part * height);
  });
}
