/** Which part of a matrix is in sight: zooming, moving, and what must be asked of Python for it. */

/** Rows [top, bottom) and columns [left, right), in rows and columns of the matrix; whole numbers. */
export interface Sight {
  readonly top: number;
  readonly bottom: number;
  readonly left: number;
  readonly right: number;
}

export type Window = readonly [number, number, number, number];

export const whole = (rows: number, columns: number): Sight => ({ top: 0, bottom: rows, left: 0, right: columns });

export const toWindow = (sight: Sight): [number, number, number, number] => [
  sight.top,
  sight.bottom,
  sight.left,
  sight.right,
];

export const toSight = ([top, bottom, left, right]: Window): Sight => ({ top, bottom, left, right });

export const isWhole = (sight: Sight, rows: number, columns: number): boolean =>
  sight.top === 0 && sight.left === 0 && sight.bottom === rows && sight.right === columns;

/** The fewest rows or columns that zooming in leaves. */
const FEWEST = 4;

function span(from: number, to: number, at: number, factor: number, count: number): [number, number] {
  const size = to - from;
  const next = Math.min(count, Math.max(Math.min(FEWEST, count), Math.round(size * factor)));
  // What lies under the pointer stays there.
  const part = size > 0 ? (at - from) / size : 0.5;
  const start = Math.min(count - next, Math.max(0, Math.round(at - part * next)));
  return [start, start + next];
}

/** Zooms by a factor (below 1: in) around a place. */
export function zoomed(
  sight: Sight,
  factor: number,
  at: { row: number; column: number },
  rows: number,
  columns: number,
): Sight {
  const [top, bottom] = span(sight.top, sight.bottom, at.row, factor, rows);
  const [left, right] = span(sight.left, sight.right, at.column, factor, columns);
  return { top, bottom, left, right };
}

/** Moves by so many rows and columns, as far as there are any. */
export function moved(sight: Sight, down: number, across: number, rows: number, columns: number): Sight {
  const high = sight.bottom - sight.top;
  const wide = sight.right - sight.left;
  const top = Math.min(rows - high, Math.max(0, Math.round(sight.top + down)));
  const left = Math.min(columns - wide, Math.max(0, Math.round(sight.left + across)));
  return { top, bottom: top + high, left, right: left + wide };
}

/** The part between two corners, at least as large as zooming goes. */
export function between(
  one: { row: number; column: number },
  other: { row: number; column: number },
  rows: number,
  columns: number,
): Sight {
  const pick = (a: number, b: number, count: number): [number, number] => {
    const least = Math.min(FEWEST, count);
    const from = Math.min(a, b);
    const size = Math.max(least, Math.abs(a - b) + 1);
    const start = Math.min(count - size, from);
    return [start, start + size];
  };
  const [top, bottom] = pick(one.row, other.row, rows);
  const [left, right] = pick(one.column, other.column, columns);
  return { top, bottom, left, right };
}

/** Moves so far that a place is in sight. */
export function including(sight: Sight, at: { row: number; column: number }, rows: number, columns: number): Sight {
  const by = (from: number, to: number, place: number) => (place < from ? place - from : Math.max(0, place + 1 - to));
  return moved(sight, by(sight.top, sight.bottom, at.row), by(sight.left, sight.right, at.column), rows, columns);
}

/** Whether a picture shows all that is in sight as finely as there is room for. */
export function suffices(
  patch: { window: Window; pool: readonly [number, number] },
  sight: Sight,
  room: readonly [number, number],
): boolean {
  const [top, bottom, left, right] = patch.window;
  if (sight.top < top || sight.bottom > bottom || sight.left < left || sight.right > right) return false;
  const finest = (from: number, to: number, most: number) => Math.max(1, Math.ceil((to - from) / most));
  return (
    patch.pool[0] <= finest(sight.top, sight.bottom, room[0]) &&
    patch.pool[1] <= finest(sight.left, sight.right, room[1])
  );
}

/** Where a picture of a window lies in a place of `width` × `height` that shows a sight. */
export function patchBox(
  patch: { window: Window; pool: readonly [number, number]; rows: number; columns: number },
  sight: Sight,
  width: number,
  height: number,
): { x: number; y: number; width: number; height: number } {
  const down = height / (sight.bottom - sight.top);
  const across = width / (sight.right - sight.left);
  return {
    x: (patch.window[2] - sight.left) * across,
    y: (patch.window[0] - sight.top) * down,
    // The last block may reach beyond the window.
    width: patch.columns * patch.pool[1] * across,
    height: patch.rows * patch.pool[0] * down,
  };
}

/** Round numbers from `from` to `to` to write along an axis of `length` pixels. */
export function sightTicks(from: number, to: number, length: number, spacing: number): number[] {
  const most = Math.max(1, Math.floor(length / spacing));
  const count = to - from;
  let step = 1;
  for (let power = 1; count / step > most; power *= 10) {
    step = [1, 2, 5, 10].map((part) => part * power).find((size) => count / size <= most) ?? power * 10;
  }
  const found: number[] = [];
  for (let at = Math.ceil(from / step) * step; at < to; at += step) found.push(at);
  return found;
}
