/** One picture for what is no stack of maps: tokens × features, a signal's rows, a vector broken into lines. */

import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { type Place, pixelAt, ticks } from "../draw/axes";
import { type Look, paintTiles, prepare } from "../draw/canvas";
import { NOT_A_NUMBER, type TileSource } from "../draw/codes";
import { wrap } from "../draw/layout";
import { useSize } from "./pieces";

export interface SheetProps {
  name: string;
  source: TileSource;
  /** Which way channels lie; places are picked along it. */
  along: "row" | "column" | "none";
  /** Words for the rows and the columns. */
  axes: readonly [string, string];
  pool: readonly [number, number];
  look: Look;
  selected: number;
  marks: ReadonlyMap<number, string>;
  cross: Place | null;
  onSelect(channel: number): void;
  onHover?(place: Place | null): void;
}

const GUTTER = 44;
const TALLEST = 26;

interface Frame {
  /** Rows and columns as painted, after breaking a single row into lines. */
  rows: number;
  columns: number;
  width: number;
  height: number;
  wrapped: boolean;
}

function frame(source: TileSource, size: { width: number; height: number }): Frame {
  const width = Math.max(1, size.width - GUTTER);
  const single = source.rows === 1;
  const { rows, columns } = single ? wrap(source.columns, width) : source;
  const room = Math.max(120, size.height - 48);
  const tall = Math.min(TALLEST, Math.max(single ? 10 : 2, Math.floor(room / Math.max(1, rows))));
  const wide = Math.min(width, columns * 48);
  return { rows, columns, width: wide, height: Math.max(1, rows * tall), wrapped: single };
}

/** The same codes with the last line filled up, so that they form a rectangle. */
function filled(source: TileSource, shape: Frame): TileSource {
  if (!shape.wrapped || shape.rows * shape.columns === source.codes.length) {
    return { ...source, rows: shape.rows, columns: shape.columns };
  }
  const codes = new Uint8Array(shape.rows * shape.columns).fill(NOT_A_NUMBER);
  codes.set(source.codes.subarray(0, source.columns));
  return { ...source, codes, rows: shape.rows, columns: shape.columns };
}

export function Sheet(props: SheetProps) {
  const { source, look, pool, along, selected, marks } = props;
  const [scroller, size] = useSize<HTMLDivElement>({ width: 560, height: 400 });
  const canvas = useRef<HTMLCanvasElement>(null);
  const [focused, setFocused] = useState<Place | null>(null);
  const shape = useMemo(() => frame(source, size), [source, size]);

  useLayoutEffect(() => {
    const context = canvas.current && prepare(canvas.current, shape.width, shape.height);
    if (!context) return;
    const { width, height } = context.canvas;
    paintTiles(context, filled(source, shape), [0], [{ x: 0, y: 0, width, height }], look);
    if (shape.wrapped && shape.rows > 1) {
      const rest = source.columns - (shape.rows - 1) * shape.columns;
      const from = Math.round((rest / shape.columns) * width);
      context.clearRect(from, Math.round((height * (shape.rows - 1)) / shape.rows), width - from, height);
    }
  }, [source, shape, look]);

  const painted = (place: Place): Place =>
    shape.wrapped ? { row: Math.floor(place.column / shape.columns), column: place.column % shape.columns } : place;
  const original = (place: Place): Place | null => {
    if (!shape.wrapped) return place;
    const column = place.row * shape.columns + place.column;
    return column < source.columns ? { row: 0, column } : null;
  };
  const channelOf = (place: Place): number =>
    along === "row" ? place.row * pool[0] : along === "column" ? place.column * pool[1] : -1;

  const cross = props.cross ?? focused;
  const move = (place: Place | null) => {
    setFocused(place);
    props.onHover?.(place);
  };
  const at = (event: MouseEvent): Place | null => {
    const box = canvas.current?.getBoundingClientRect();
    if (!box) return null;
    const found = pixelAt(
      event.clientX - box.left,
      event.clientY - box.top,
      box.width,
      box.height,
      shape.rows,
      shape.columns,
    );
    return found && original(found);
  };

  const onKeyDown = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const here = cross ?? { row: 0, column: 0 };
    if (event.key === "Enter" || event.key === " ") {
      const channel = channelOf(here);
      if (channel >= 0) props.onSelect(channel);
    } else if (event.key === "Escape" && cross) {
      move(null);
    } else if (event.key.startsWith("Arrow")) {
      const shown = painted(here);
      const step: Record<string, Place> = {
        ArrowLeft: { row: shown.row, column: shown.column - 1 },
        ArrowRight: { row: shown.row, column: shown.column + 1 },
        ArrowUp: { row: shown.row - 1, column: shown.column },
        ArrowDown: { row: shown.row + 1, column: shown.column },
      };
      const to = cross ? step[event.key] : shown;
      if (!to || to.row < 0 || to.row >= shape.rows) return event.preventDefault();
      const inside = to.column >= 0 && to.column < shape.columns ? original(to) : null;
      if (inside) move(inside);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  };

  // The band of a channel: one row, one column, or one cell of a wrapped vector.
  const band = (channel: number) => {
    const step = along === "row" ? pool[0] : pool[1];
    const line = Math.floor(channel / step);
    if (along === "row") return { top: line / shape.rows, left: 0, height: 1 / shape.rows, width: 1 };
    if (!shape.wrapped) return { top: 0, left: line / shape.columns, height: 1, width: 1 / shape.columns };
    const cell = painted({ row: 0, column: line });
    const part = { height: 1 / shape.rows, width: 1 / shape.columns };
    return { top: cell.row * part.height, left: cell.column * part.width, ...part };
  };
  const boxStyle = (box: { top: number; left: number; width: number; height: number }) => ({
    top: `${box.top * 100}%`,
    left: `${box.left * 100}%`,
    width: `${box.width * 100}%`,
    height: `${box.height * 100}%`,
  });
  const shownCross = cross && painted(cross);
  const perLine = shape.wrapped ? shape.columns * pool[1] : pool[0];
  const rowNumbers =
    shape.wrapped && shape.rows === 1
      ? []
      : ticks(shape.rows, shape.height, 18).map((line) => ({ line, text: line * perLine }));
  const columnNumbers =
    shape.wrapped && shape.rows > 1
      ? []
      : ticks(shape.columns, shape.width, 14 + 8 * String(shape.columns * pool[1]).length);
  const [rowWord, columnWord] = props.axes;

  return (
    <div class="nnw-scroll" ref={scroller}>
      <div
        class="nnw-sheet"
        role="grid"
        aria-label={props.name}
        tabIndex={0}
        onKeyDown={onKeyDown}
        style={{ paddingLeft: `${GUTTER}px` }}
      >
        <div class="nnw-sheet-words" aria-hidden="true">
          {shape.wrapped ? (
            <span>{columnWord} →</span>
          ) : (
            <>
              <span>{rowWord} ↓</span>
              <span>{columnWord} →</span>
            </>
          )}
        </div>
        <div
          class="nnw-sheet-picture"
          role="presentation"
          style={{ width: `${shape.width}px`, height: `${shape.height}px` }}
          onPointerMove={(event) => move(at(event))}
          onPointerLeave={() => move(null)}
          onClick={(event) => {
            const place = at(event);
            const channel = place ? channelOf(place) : -1;
            if (channel >= 0) props.onSelect(channel);
          }}
        >
          <canvas ref={canvas} aria-hidden="true" style={{ width: `${shape.width}px`, height: `${shape.height}px` }} />
          {rowNumbers.map(({ line, text }) => (
            <span key={line} class="nnw-tick nnw-tick-row" style={{ top: `${((line + 0.5) / shape.rows) * 100}%` }}>
              {text}
            </span>
          ))}
          {columnNumbers.map((column) => (
            <span
              key={column}
              class="nnw-tick nnw-tick-column"
              style={{ left: `${((column + 0.5) / shape.columns) * 100}%` }}
            >
              {column * pool[1]}
            </span>
          ))}
          {along !== "none" &&
            [...marks].map(([channel, word]) => (
              <i
                key={channel}
                class="nnw-band nnw-band-edited"
                style={boxStyle(band(channel))}
                title={`${channel} · ${word}`}
              >
                <b>{word}</b>
              </i>
            ))}
          {along !== "none" && selected >= 0 && <i class="nnw-band" style={boxStyle(band(selected))} />}
          {shownCross && (
            <i
              class="nnw-cross"
              style={boxStyle({
                top: shownCross.row / shape.rows,
                left: shownCross.column / shape.columns,
                width: 1 / shape.columns,
                height: 1 / shape.rows,
              })}
            />
          )}
        </div>
        <div class="nnw-hidden" role="row">
          <span role="gridcell" aria-live="polite" aria-selected={cross !== null && channelOf(cross) === selected}>
            {cross ? `${rowWord} ${cross.row * pool[0]}, ${columnWord} ${cross.column * pool[1]}` : ""}
          </span>
        </div>
      </div>
    </div>
  );
}
