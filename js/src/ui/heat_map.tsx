/** A matrix that can be zoomed: the picture, the norms of its rows and columns beside it, numbers along both sides. */

import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Place } from "../draw/axes";
import { type Look, paintTiles, prepare } from "../draw/canvas";
import { marginBars, type Patch, rankOf, rowAt, snapped } from "../draw/heat";
import { between, including, moved, patchBox, type Sight, sightTicks, zoomed } from "../draw/sight";
import { FONT, useSize } from "./pieces";

export interface HeatMapProps {
  name: string;
  patch: Patch;
  rows: number;
  columns: number;
  axes: readonly [string, string];
  /** The rows in the window where they are sorted. */
  order: ArrayLike<number> | null;
  look: Look;
  sight: Sight;
  selected: number;
  /** In places of the picture: where rows are sorted, by rank. */
  cross: Place | null;
  words: string;
  dark: boolean;
  onSight(sight: Sight): void;
  onHover(place: Place | null): void;
  onSelect(row: number): void;
  /** What the picture is, where there are two. */
  title?: string;
  /** How many rows and columns there is room for. */
  onRoom?(rows: number, columns: number): void;
}

const GUTTER = 56;
const MARGIN = 34;
const GAP = 4;
const BELOW = 22;
const CELL = 28;
const STEP = 0.5;
/** Pixels that a press must travel to be a drag. */
const DRAG = 5;

export function HeatMap(props: HeatMapProps) {
  const { patch, rows, columns, sight, look, order, cross } = props;
  const [area, size] = useSize<HTMLDivElement>({ width: 560, height: 380 });
  const canvas = useRef<HTMLCanvasElement>(null);
  const above = useRef<HTMLCanvasElement>(null);
  const beside = useRef<HTMLCanvasElement>(null);
  const [drag, setDrag] = useState<{ from: Place; to: Place; moved: boolean; x: number; y: number } | null>(null);
  // Larger text takes more room beside the picture.
  const zoom = size.font / FONT;
  const gutter = Math.round(GUTTER * zoom);
  const roomy = {
    width: Math.max(40, size.width - gutter - MARGIN - GAP - 8),
    height: Math.max(40, size.height - MARGIN - GAP - (BELOW + (props.title ? 18 : 0)) * zoom - 4),
  };
  const width = Math.min(roomy.width, columns * CELL);
  const height = Math.min(roomy.height, rows * CELL);
  const ratio = globalThis.devicePixelRatio || 1;

  // Steps of 64, so that a column that is dragged wider does not ask with every pixel.
  const most = (pixels: number) => Math.max(64, Math.ceil((pixels * ratio) / 64) * 64);
  const room = [most(roomy.height), most(roomy.width)] as const;
  useLayoutEffect(() => props.onRoom?.(room[0], room[1]), [room[0], room[1]]);

  const placed = useMemo(() => ({ ...patch, rows: patch.source.rows, columns: patch.source.columns }), [patch]);
  useLayoutEffect(() => {
    const context = canvas.current && prepare(canvas.current, width, height);
    if (!context) return;
    const box = patchBox(placed, sight, context.canvas.width, context.canvas.height);
    paintTiles(context, patch.source, [0], [box], look);
    // A ragged last block reaches beyond the matrix only out of sight.
  }, [placed, sight, look, width, height, ratio]);
  useLayoutEffect(() => {
    const across = above.current && prepare(above.current, width, MARGIN);
    if (across) marginBars(across, patch.columnNorms, placed, sight, "column");
    const down = beside.current && prepare(beside.current, MARGIN, height);
    if (down) marginBars(down, patch.rowNorms, placed, sight, "row");
  }, [placed, sight, width, height, ratio, props.dark]);

  const at = (event: MouseEvent): Place | null => {
    const box = canvas.current?.getBoundingClientRect();
    if (!box || box.width === 0) return null;
    const part = (value: number) => Math.min(0.999999, Math.max(0, value));
    return {
      row: sight.top + Math.floor(part((event.clientY - box.top) / box.height) * (sight.bottom - sight.top)),
      column: sight.left + Math.floor(part((event.clientX - box.left) / box.width) * (sight.right - sight.left)),
    };
  };
  const under = useRef<Place | null>(null);
  const hover = (place: Place | null) => {
    under.current = place;
    props.onHover(place && snapped(patch, place));
  };
  // A finer picture has arrived: the pointer may lie over a smaller block now.
  useLayoutEffect(() => {
    if (under.current) hover(under.current);
  }, [patch]);
  const middle = (): Place =>
    cross ?? { row: Math.floor((sight.top + sight.bottom) / 2), column: Math.floor((sight.left + sight.right) / 2) };
  const enlarge = (factor: number, place: Place) => props.onSight(zoomed(sight, factor, place, rows, columns));
  const select = (place: Place) => {
    const row = rowAt(order, patch.window, place.row);
    if (row !== null) props.onSelect(row);
  };

  const onKeyDown = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const steps: Record<string, [number, number]> = {
      ArrowLeft: [0, -1],
      ArrowRight: [0, 1],
      ArrowUp: [-1, 0],
      ArrowDown: [1, 0],
    };
    const step = steps[event.key];
    if (step) {
      const [down, across] = step;
      if (event.shiftKey) {
        const by = (from: number, to: number) => Math.max(1, Math.round((to - from) / 4));
        props.onSight(
          moved(sight, down * by(sight.top, sight.bottom), across * by(sight.left, sight.right), rows, columns),
        );
      } else {
        const here = cross ?? middle();
        const [high, wide] = patch.pool;
        const to = cross
          ? {
              row: Math.min(rows - 1, Math.max(0, here.row + down * high)),
              column: Math.min(columns - 1, Math.max(0, here.column + across * wide)),
            }
          : here;
        hover(to);
        const next = including(sight, to, rows, columns);
        if (next.top !== sight.top || next.left !== sight.left) props.onSight(next);
      }
    } else if (event.key === "+" || event.key === "=") enlarge(STEP, middle());
    else if (event.key === "-") enlarge(1 / STEP, middle());
    else if (event.key === "0") props.onSight({ top: 0, bottom: rows, left: 0, right: columns });
    else if (event.key === "Enter" || event.key === " ") select(middle());
    else if (event.key === "Escape" && cross) hover(null);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };

  const percent = (place: number, from: number, to: number) => `${(100 * (place - from)) / (to - from)}%`;
  const boxStyle = (place: Place, high: number, wide: number) => ({
    top: percent(place.row, sight.top, sight.bottom),
    left: percent(place.column, sight.left, sight.right),
    height: `${(100 * high) / (sight.bottom - sight.top)}%`,
    width: `${(100 * wide) / (sight.right - sight.left)}%`,
  });
  const rowTicks = sightTicks(sight.top, sight.bottom, height, 18 * zoom);
  // Of sorted rows the numbers say something only where each has its own line.
  const dense = order !== null && rowTicks.length < sight.bottom - sight.top;
  const inSight = (place: Place) =>
    place.row >= sight.top && place.row < sight.bottom && place.column >= sight.left && place.column < sight.right;
  const chosen = order === null ? props.selected : rankOf(order, patch.window, props.selected);
  const [rowWord, columnWord] = props.axes;

  return (
    <div class="nnw-heat" ref={area}>
      {props.title && <strong class="nnw-heat-title">{props.title}</strong>}
      <div
        class="nnw-heat-grid"
        style={{ gridTemplateColumns: `${gutter}px ${width}px ${MARGIN}px`, columnGap: `${GAP}px` }}
      >
        <div class="nnw-heat-corner" aria-hidden="true">
          <span>{columnWord} →</span>
          <span>{rowWord} ↓</span>
        </div>
        <canvas
          ref={above}
          class="nnw-heat-margin"
          aria-hidden="true"
          style={{ width: `${width}px`, height: `${MARGIN}px` }}
        />
        <span />
        <div class="nnw-heat-rows" aria-hidden="true" style={{ height: `${height}px` }}>
          {!dense &&
            rowTicks.map((row) => (
              <span
                key={row}
                class="nnw-tick nnw-tick-row"
                style={{ top: percent(row + 0.5, sight.top, sight.bottom) }}
              >
                {rowAt(order, patch.window, row) ?? ""}
              </span>
            ))}
        </div>
        <div
          class="nnw-heat-picture"
          role="grid"
          aria-label={`${props.name} Arrows move the cross-hair, with Shift the picture; plus, minus and 0 zoom.`}
          tabIndex={0}
          style={{ width: `${width}px`, height: `${height}px` }}
          data-top={sight.top}
          data-bottom={sight.bottom}
          data-left={sight.left}
          data-right={sight.right}
          onKeyDown={onKeyDown}
          onPointerDown={(event) => {
            const from = at(event);
            if (!from || event.button !== 0) return;
            event.currentTarget.setPointerCapture?.(event.pointerId);
            setDrag({ from, to: from, moved: false, x: event.clientX, y: event.clientY });
          }}
          onPointerMove={(event) => {
            const place = at(event);
            if (drag && place) {
              const far = Math.abs(event.clientX - drag.x) > DRAG || Math.abs(event.clientY - drag.y) > DRAG;
              setDrag({ ...drag, to: place, moved: drag.moved || far });
            }
            hover(place);
          }}
          onPointerUp={() => {
            if (drag?.moved) {
              hover(null);
              props.onSight(between(drag.from, drag.to, rows, columns));
            } else if (drag) select(drag.to);
            setDrag(null);
          }}
          onPointerCancel={() => setDrag(null)}
          onPointerLeave={() => !drag && hover(null)}
          onWheel={(event) => {
            // Without a key the wheel scrolls the notebook.
            if (!event.ctrlKey && !event.metaKey) return;
            event.preventDefault();
            const place = at(event);
            hover(null);
            if (place) enlarge(event.deltaY < 0 ? 0.8 : 1.25, place);
          }}
        >
          <canvas ref={canvas} aria-hidden="true" style={{ width: `${width}px`, height: `${height}px` }} />
          {chosen >= 0 && chosen >= sight.top && chosen < sight.bottom && (
            <i
              class="nnw-band"
              style={boxStyle({ row: chosen, column: sight.left }, 1, sight.right - sight.left)}
              title={`${rowWord} ${props.selected}`}
            />
          )}
          {cross && inSight(cross) && <i class="nnw-cross" style={boxStyle(cross, patch.pool[0], patch.pool[1])} />}
          {drag?.moved && (
            <i
              class="nnw-heat-drag"
              style={boxStyle(
                { row: Math.min(drag.from.row, drag.to.row), column: Math.min(drag.from.column, drag.to.column) },
                Math.abs(drag.from.row - drag.to.row) + 1,
                Math.abs(drag.from.column - drag.to.column) + 1,
              )}
            />
          )}
          <div class="nnw-hidden" role="row">
            <span role="gridcell" aria-live="polite" aria-selected={cross !== null && cross.row === chosen}>
              {cross ? props.words : ""}
            </span>
          </div>
        </div>
        <canvas
          ref={beside}
          class="nnw-heat-margin"
          aria-hidden="true"
          style={{ width: `${MARGIN}px`, height: `${height}px` }}
        />
        <span />
        <div class="nnw-heat-columns" aria-hidden="true" style={{ width: `${width}px` }}>
          {sightTicks(sight.left, sight.right, width, (14 + 8 * String(sight.right).length) * zoom).map((column) => (
            <span
              key={column}
              class="nnw-tick nnw-tick-column"
              style={{ left: percent(column + 0.5, sight.left, sight.right) }}
            >
              {column}
            </span>
          ))}
        </div>
      </div>
    </div>
  );
}
