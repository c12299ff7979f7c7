/** Where tiles go, and which of them are in sight. */

export interface GridLayout {
  /** Tiles side by side. */
  readonly across: number;
  readonly lines: number;
  /** Size of a tile and of a line with its caption, in CSS pixels. */
  readonly width: number;
  readonly height: number;
  readonly pitch: number;
  readonly gap: number;
  readonly total: number;
}

export const GAP = 8;
export const CAPTION = 22;

const MOST_EDGE = 160;

/**
 * How wide a tile should be: as wide as lets all of them be seen at once, within limits. Four stand side by side even in
 * a narrow place. `ratio` is height to width.
 */
export function tileEdge(
  count: number,
  place: { width: number; height: number },
  ratio: number,
  least = 80,
  caption = CAPTION,
): number {
  const { width, height } = place;
  const floor = Math.max(48, Math.min(least, width / 4 - GAP));
  for (let across = Math.ceil((width + GAP) / (MOST_EDGE + GAP)); ; across++) {
    const edge = (width - GAP * (across - 1)) / across;
    if (edge <= floor) return floor;
    if (Math.ceil(count / across) * (edge * ratio + caption) <= height) return edge;
  }
}

/** Height to width of a tile; very flat or very tall maps keep their ratio within limits, so that a tile stays a tile. */
export function tileRatio(rows: number, columns: number): number {
  return Math.min(2, Math.max(0.25, rows / Math.max(1, columns)));
}

/** Lays `count` tiles of `rows` × `columns` values over `width` CSS pixels; tiles are about `edge` pixels wide. */
export function gridLayout(
  count: number,
  width: number,
  rows: number,
  columns: number,
  edge = 80,
  caption = CAPTION,
): GridLayout {
  const across = Math.max(1, Math.round((width + GAP) / (edge + GAP)));
  const tile = Math.max(1, Math.floor((width - GAP * (across - 1)) / across));
  const height = Math.max(1, Math.round(tile * tileRatio(rows, columns)));
  const lines = Math.ceil(count / across);
  const pitch = height + caption;
  return { across, lines, width: tile, height, pitch, gap: GAP, total: lines * pitch };
}

/** The lines [from, to) to draw: those in sight and `extra` before and after. */
export function visibleLines(layout: GridLayout, top: number, height: number, extra = 1): { from: number; to: number } {
  const from = Math.max(0, Math.floor(top / layout.pitch) - extra);
  const to = Math.min(layout.lines, Math.ceil((top + height) / layout.pitch) + extra);
  return { from: Math.min(from, layout.lines), to: Math.max(Math.min(from, layout.lines), to) };
}

/** Where an arrow key leads in a grid of `count` tiles; keys that do not move give null. */
export function gridMove(key: string, at: number, count: number, across: number, page: number): number | null {
  if (count === 0) return null;
  const steps: Record<string, number> = {
    ArrowLeft: at - 1,
    ArrowRight: at + 1,
    ArrowUp: at - across,
    ArrowDown: at + across,
    Home: 0,
    End: count - 1,
    PageUp: at - across * Math.max(1, page),
    PageDown: at + across * Math.max(1, page),
  };
  const to = steps[key];
  if (to === undefined) return null;
  if (key.startsWith("Arrow")) return to < 0 || to >= count ? at : to;
  return Math.min(count - 1, Math.max(0, to));
}

/** A long row of values broken into lines of equal length. */
export interface Wrapped {
  readonly rows: number;
  readonly columns: number;
}

/** How to break `count` values over `width` pixels so that each is at least `least` pixels wide. */
export function wrap(count: number, width: number, least = 10): Wrapped {
  const fit = Math.max(1, Math.floor(width / least));
  if (count <= fit) return { rows: count > 0 ? 1 : 0, columns: count };
  // Round numbers make the labels of the lines readable.
  const round = fit >= 64 ? Math.floor(fit / 16) * 16 : fit >= 20 ? Math.floor(fit / 10) * 10 : fit;
  return { rows: Math.ceil(count / round), columns: round };
}
