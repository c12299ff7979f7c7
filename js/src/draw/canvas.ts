/** From pixels to the screen: one offscreen picture of all tiles, each drawn enlarged without smoothing. */

import { type TileSource, tileCodes } from "./codes";
import type { Colormap } from "./colormap";
import { lookup, paintCodes, paintRgb, paintValues, type Run, specialRuns, specialValueRuns } from "./paint";
import { PATTERN_SIZE, patternPixels } from "./patterns";
import { type Range, type Scaling, tileRange } from "./range";

export interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export interface Look {
  readonly map: Colormap;
  readonly scaling: Scaling;
  /** The range of all tiles together. */
  readonly layer: Range;
}

let offscreen: HTMLCanvasElement | null = null;
const patterns = new Map<string, HTMLCanvasElement>();

/** A picture of exactly this size: drawing from a larger one would copy all of it. */
function stage(width: number, height: number): CanvasRenderingContext2D | null {
  offscreen ??= document.createElement("canvas");
  if (offscreen.width !== width) offscreen.width = width;
  if (offscreen.height !== height) offscreen.height = height;
  return offscreen.getContext("2d", { willReadFrequently: true });
}

function put(context: CanvasRenderingContext2D, pixels: Uint32Array<ArrayBuffer>, width: number, height: number): void {
  context.putImageData(new ImageData(new Uint8ClampedArray(pixels.buffer), width, height), 0, 0);
}

function pattern(context: CanvasRenderingContext2D, code: number, scale: number): CanvasPattern | null {
  const key = `${code}/${scale}`;
  let tile = patterns.get(key);
  if (!tile) {
    const side = PATTERN_SIZE * scale;
    tile = document.createElement("canvas");
    tile.width = tile.height = side;
    const inner = tile.getContext("2d");
    if (inner) put(inner, new Uint32Array(patternPixels(code, scale)), side, side);
    patterns.set(key, tile);
  }
  return context.createPattern(tile, "repeat");
}

function drawRuns(
  context: CanvasRenderingContext2D,
  runs: readonly Run[],
  box: Box,
  rows: number,
  columns: number,
): void {
  const scale = Math.max(1, Math.round(globalThis.devicePixelRatio || 1));
  const width = box.width / columns;
  const height = box.height / rows;
  for (const run of runs) {
    const fill = pattern(context, run.code, scale);
    if (!fill) continue;
    context.fillStyle = fill;
    // At least two pixels, so that a single bad value in a large map is not lost.
    context.fillRect(
      box.x + run.from * width,
      box.y + run.row * height,
      Math.max(2, (run.to - run.from) * width),
      Math.max(2, height),
    );
  }
}

/** What has more values than the screen has pixels is averaged, so that none is lost; all else keeps its edges. */
function shrunk(box: Box, rows: number, columns: number): boolean {
  return columns > box.width || rows > box.height;
}

/**
 * Paints the tiles named by `which` into the boxes (device pixels) of the same places. A few milliseconds for
 * thousands of small tiles: one ImageData, one putImageData, one scaled drawImage per tile.
 */
export function paintTiles(
  context: CanvasRenderingContext2D,
  source: TileSource,
  which: readonly number[],
  boxes: readonly Box[],
  look: Look,
): void {
  const { rows, columns, depth } = source;
  const size = rows * columns;
  if (size === 0 || which.length === 0) return;
  // Rows of tiles, because a canvas is limited in height.
  const across = Math.max(1, Math.min(which.length, Math.floor(4096 / columns)));
  const down = Math.ceil(which.length / across);
  const width = across * columns;
  const inner = stage(width, down * rows);
  if (!inner) return;
  const pixels = new Uint32Array(width * down * rows);
  const tile = new Uint32Array(size);
  const colours = new Uint32Array(256);
  which.forEach((at, place) => {
    const codes = tileCodes(source, at);
    const own = { lo: source.lo[at] ?? 0, hi: source.hi[at] ?? 0 };
    if (depth === 3) paintRgb(tile, 0, codes, own, look.scaling === "channel" ? own : look.layer);
    else
      paintCodes(
        tile,
        0,
        codes,
        lookup(look.map, own, tileRange(look.scaling, look.layer, own, look.map.diverging), colours),
      );
    const corner = Math.floor(place / across) * rows * width + (place % across) * columns;
    for (let row = 0; row < rows; row++) {
      pixels.set(tile.subarray(row * columns, (row + 1) * columns), corner + row * width);
    }
  });
  put(inner, pixels, width, down * rows);
  which.forEach((at, place) => {
    const box = boxes[place];
    if (!box) return;
    context.imageSmoothingEnabled = shrunk(box, rows, columns);
    context.drawImage(
      inner.canvas,
      (place % across) * columns,
      Math.floor(place / across) * rows,
      columns,
      rows,
      box.x,
      box.y,
      box.width,
      box.height,
    );
    drawRuns(context, specialRuns(tileCodes(source, at), columns, depth), box, rows, columns);
  });
}

/** Paints a plane of exact values into one box. */
export function paintPlane(
  context: CanvasRenderingContext2D,
  values: Float32Array,
  rows: number,
  columns: number,
  box: Box,
  map: Colormap,
  range: Range,
): void {
  const inner = rows * columns > 0 ? stage(columns, rows) : null;
  if (!inner) return;
  const pixels = new Uint32Array(rows * columns);
  paintValues(pixels, values, map, range);
  put(inner, pixels, columns, rows);
  context.imageSmoothingEnabled = shrunk(box, rows, columns);
  context.drawImage(inner.canvas, 0, 0, columns, rows, box.x, box.y, box.width, box.height);
  drawRuns(context, specialValueRuns(values, columns), box, rows, columns);
}

/** Paints a picture of red, green, blue bytes into one box; small pictures stay crisp. */
export function paintPicture(
  context: CanvasRenderingContext2D,
  bytes: Uint8Array,
  rows: number,
  columns: number,
  box: Box,
): void {
  const inner = rows * columns > 0 ? stage(columns, rows) : null;
  if (!inner) return;
  const rgba = new Uint8ClampedArray(rows * columns * 4).fill(255);
  for (let at = 0; at < rows * columns; at++) {
    for (let part = 0; part < 3; part++) rgba[4 * at + part] = bytes[3 * at + part] ?? 0;
  }
  inner.putImageData(new ImageData(rgba, columns, rows), 0, 0);
  context.imageSmoothingEnabled = shrunk(box, rows, columns);
  context.drawImage(inner.canvas, 0, 0, columns, rows, box.x, box.y, box.width, box.height);
}

/** Fits a canvas to its size on the screen in device pixels and clears it; null where nothing can be drawn. */
export function prepare(canvas: HTMLCanvasElement, width: number, height: number): CanvasRenderingContext2D | null {
  const ratio = globalThis.devicePixelRatio || 1;
  const across = Math.round(width * ratio);
  const down = Math.round(height * ratio);
  if (canvas.width !== across) canvas.width = across;
  if (canvas.height !== down) canvas.height = down;
  const context = across > 0 && down > 0 ? canvas.getContext("2d") : null;
  context?.clearRect(0, 0, across, down);
  return context;
}
