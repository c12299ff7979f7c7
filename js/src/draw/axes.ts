/** From places in a picture to places in an activation, and back. */

import type { MapsResult } from "../wire/types";

export interface Place {
  readonly row: number;
  readonly column: number;
}

interface Point extends Place {
  readonly channel: number;
}

type Axes = Pick<MapsResult, "channel_axis" | "pool">;

/** Which axes the rows and columns of a picture are; a single word names the columns. */
export function axisWords(maps: Pick<MapsResult, "axes">): [string, string] {
  const [first = "row", second] = maps.axes;
  return second === undefined ? ["row", first] : [first, second];
}

/** The point of the activation that a pixel of a tile shows, pooling undone; `channel` names the tile. */
export function toPoint(maps: Axes, channel: number, place: Place): Point {
  const row = place.row * maps.pool[0];
  const column = place.column * maps.pool[1];
  if (maps.channel_axis === "row") return { channel: row, row, column };
  if (maps.channel_axis === "column") return { channel: column, row, column };
  return { channel, row, column };
}

/** The pixel of a tile that shows a point. */
export function toPlace(maps: Axes, point: Place): Place {
  return { row: Math.floor(point.row / maps.pool[0]), column: Math.floor(point.column / maps.pool[1]) };
}

/** The pixel under a position inside a box, or null outside. */
export function pixelAt(
  x: number,
  y: number,
  width: number,
  height: number,
  rows: number,
  columns: number,
): Place | null {
  if (!(x >= 0 && y >= 0 && x < width && y < height) || rows < 1 || columns < 1) return null;
  return {
    row: Math.min(rows - 1, Math.floor((y / height) * rows)),
    column: Math.min(columns - 1, Math.floor((x / width) * columns)),
  };
}

/** The numbers to write along an axis of `count` pixels that is `length` pixels long: round steps, first one at 0. */
export function ticks(count: number, length: number, spacing: number): number[] {
  if (count < 1) return [];
  const most = Math.max(1, Math.floor(length / spacing));
  let step = 1;
  for (let power = 1; count / step > most; power *= 10) {
    step = [1, 2, 5, 10].map((part) => part * power).find((size) => count / size <= most) ?? power * 10;
  }
  return Array.from({ length: Math.ceil(count / step) }, (_, at) => at * step);
}

/** The pixel of one channel's plane that shows a point, or null where the point lies in another channel's place. */
export function inPlane(
  plane: { readonly plane: { readonly shape: readonly number[] }; readonly pool: readonly [number, number] },
  axis: MapsResult["channel_axis"],
  point: Place,
): Place | null {
  const [rows = 0, columns = 0] = plane.plane.shape;
  const row = axis === "row" || axis === "none" ? 0 : Math.floor(point.row / plane.pool[0]);
  const column = axis === "column" || axis === "none" ? 0 : Math.floor(point.column / plane.pool[1]);
  return row < rows && column < columns ? { row, column } : null;
}
